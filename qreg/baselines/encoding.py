"""Encoding a baseline as a JSON entry and two sidecars."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from qreg.baselines.layout import canonical, layout, plain
from qreg.baselines.schema import (
    FORMAT,
    MOST_RANGES,
    CorrectEntry,
    LayerEntry,
    LogitsEntry,
    OutputEntry,
    PromiseEntry,
    ScoreEntry,
    Sidecar,
    Sidecars,
    SizeEntry,
    StoredBaseline,
    TensorsEntry,
    WeightEntry,
    named_alike,
    sidecar_name,
)
from qreg.baselines.sidecar import calibration_ranges, encode_arrays, encode_images
from qreg.records.baseline import Baseline, Promise
from qreg.records.case import Case
from qreg.records.measurement import Size
from qreg.records.numerics import Layer

_QUANTIZED = ("weight", "output")


@dataclass(frozen=True)
class Encoded:
    """An encoded baseline: a plain entry, and sidecars by name."""

    entry: dict[str, Any]
    sidecars: dict[str, bytes]


def encode(baseline: Baseline) -> Encoded:
    """The entry and the sidecars of a baseline.

    Raises:
        ValueError: a number does not fit its array, or is not finite.
    """
    found = baseline.snapshot
    arrays, images = encode_arrays(found), encode_images(found.numerics.images)
    files = Sidecars(_sidecar(arrays), _sidecar(images))
    entry: dict[str, Any] = plain(_entry(baseline, files))
    entry["sha256"] = checksum(found.case, entry)
    return Encoded(entry, {files.arrays.file: arrays, files.images.file: images})


def encode_promise(promise: Promise) -> dict[str, Any]:
    """The plain entry of a promise."""
    fields = {name: value for name, value in vars(promise).items() if name != "case"}
    entry: dict[str, Any] = plain(PromiseEntry(**fields, sha256=""))
    entry["sha256"] = checksum(promise.case, entry)
    return entry


def file_text(
    case: Case, entries: list[dict[str, Any]], promises: list[dict[str, Any]] | None = None
) -> str:
    """The text of a file with these plain entries and promises."""
    content = {"format": FORMAT, "case": plain(case), "entries": _ordered(entries)}
    return layout(content | ({"promises": _ordered(promises)} if promises else {})) + "\n"


def _ordered(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: canonical(entry["environment"]))


def checksum(case: Case, entry: dict[str, Any]) -> str:
    """sha256 of a plain entry (without this checksum) and its case."""
    content = {name: value for name, value in entry.items() if name != "sha256"}
    return hashlib.sha256(canonical({"case": plain(case), "entry": content})).hexdigest()


def _sidecar(content: bytes) -> Sidecar:
    sha256 = hashlib.sha256(content).hexdigest()
    return Sidecar(sidecar_name(sha256), sha256)


def _entry(baseline: Baseline, sidecars: Sidecars) -> StoredBaseline:
    found, numerics = baseline.snapshot, baseline.snapshot.numerics
    logits, ranges = numerics.logits, calibration_ranges(found.calibration)
    encoded = {
        "history": baseline.history,
        "calibration": ranges if len(ranges) <= MOST_RANGES else (),
        "accuracy": CorrectEntry(found.correct, len(numerics.images.index)),
        "size": _size_entry(found.size),
        "logits": LogitsEntry(logits.digest, logits.count, logits.classes, logits.elements),
        "operators": {one.name: one.count for one in numerics.operators},
        "layers": tuple(map(_layer_entry, numerics.layers)),
        "sidecars": sidecars,
        "sha256": "",
        "score": ScoreEntry(**named_alike(found.score, ScoreEntry)) if found.score else None,
    }
    return StoredBaseline(
        **named_alike(found, StoredBaseline) | named_alike(numerics, StoredBaseline) | encoded
    )


def _layer_entry(layer: Layer) -> LayerEntry:
    weight, output = layer.weight, layer.output
    fields = {name: value for name, value in vars(layer).items() if name not in _QUANTIZED}
    return LayerEntry(
        **fields,
        weight=WeightEntry(weight.qscheme, weight.dtype) if weight else None,
        output=OutputEntry(**vars(output)) if output else None,
    )


def _size_entry(size: Size) -> SizeEntry:
    # in the order of the state dict, in which a layer's tensors are adjacent
    by_layer = groupby(size.tensors, key=lambda tensor: tensor.layer)
    tensors = tuple(
        TensorsEntry(layer, tuple((t.role, t.dtype, t.elements, t.bytes) for t in group))
        for layer, group in by_layer
    )
    return SizeEntry(size.file_bytes, size.weight_bytes, tensors, size.float_layers)
