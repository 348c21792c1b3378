"""Decoding a baseline from a JSON entry and two sidecars; any error is a `MismatchError`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qreg.baselines.applicable import same_environment
from qreg.baselines.encoding import checksum
from qreg.baselines.schema import (
    FORMAT,
    File,
    LayerEntry,
    PromiseEntry,
    Sidecars,
    SizeEntry,
    StoredBaseline,
    named_alike,
)
from qreg.baselines.sidecar import (
    Arrays,
    take_calibration,
    take_disagreements,
    take_logits,
    take_predictions,
    take_quantizer,
    take_score,
)
from qreg.records.baseline import Baseline, Promise, Snapshot
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, parse
from qreg.records.measurement import Size, TensorSize
from qreg.records.numerics import Images, Layer, Logits, Numerics, OperatorCount, Quantizer
from qreg.records.score import Score

# More images than calibration ranges stand for in earnest: a typing error would fill the memory.
_MOST_IMAGES, _MOST_CALIBRATION = 10_000_000, 1_000_000


@dataclass(frozen=True)
class Head:
    """What a scan needs of a file: its case, and the sidecars of its entries."""

    case: Case
    sidecars: tuple[Sidecars, ...]


def decode_head(content: bytes) -> Head:
    """The head of a file, without decoding its entries: 10,000 files are scanned in a second.

    Raises:
        MismatchError: it is invalid, as far as that shows there.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MismatchError("JSON", f"{len(content)} bytes that are not ({error})") from error
    _check_format(found)
    entries = _entries(found)
    sidecars = tuple(_sidecars(entry.get("sidecars")) for entry in entries)
    return Head(_CASE(found.get("case")), sidecars)


_CASE, _SIDECARS = decoder(Case), decoder(Sidecars)
# By their text: cases of a dataset share their samples, and those that are equal their arrays.
_known: dict[str, Sidecars] = {}
_MOST_KNOWN, _LONGEST_KNOWN = 1 << 14, 1 << 10


def _sidecars(value: Any) -> Sidecars:
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested deeply, or a number of thousands of digits
        return _decoded(value)
    known = _known.get(text)
    if known is None:
        known = _decoded(value)
        if len(_known) < _MOST_KNOWN and len(text) < _LONGEST_KNOWN:
            _known[text] = known
    return known


def _decoded(value: Any) -> Sidecars:
    sidecars: Sidecars = _SIDECARS(value)
    return sidecars


def decode_file(content: bytes) -> tuple[File, dict[str, Any]]:
    """A file as a record and as plain JSON; sidecars are not read.

    Raises:
        MismatchError: it is invalid.
    """
    found = parse(content)
    _check_format(found)
    file: File = decoder(File)(found)
    for name, records in (("entries", file.entries), ("promises", file.promises)):
        _check_entries(file.case, name, records, found.get(name, []))
    return file, found


def _check_entries(
    case: Case,
    name: str,
    records: Sequence[StoredBaseline | PromiseEntry],
    plain: Sequence[dict[str, Any]],
) -> None:
    """Each entry must match its sha256, and each environment may occur only once."""
    for number, (entry, content) in enumerate(zip(records, plain, strict=True)):
        key, expected = f"{name}[{number}]", checksum(case, content)
        if entry.sha256 != expected:
            raise MismatchError(
                f"the entry that {entry.sha256[:12]}... is the sha256 of",
                f"{expected[:12]}...: it was changed by hand, or damaged",
                key=key,
            )
        before = records[:number]
        if any(same_environment(entry.environment, other.environment) for other in before):
            raise MismatchError("each environment once", "one twice", key=f"{key}.environment")


def _check_format(value: Any) -> None:
    if type(value) is not dict:
        raise MismatchError("an object", type(value).__name__)
    number = value.get("format")
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise MismatchError(f"{FORMAT}, the newest this qreg reads", f"{number!r}", key="format")
    if number < 3 and any("score" in entry for entry in _entries(value)):
        raise MismatchError(f"no scores in format {number}", "some", key="entries")
    if number == 1 and "promises" in value:
        raise MismatchError("no promises in format 1", "some", key="promises")


def _entries(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The plain entries, as far as they look like some."""
    entries = result.get("entries")
    return [one for one in entries if type(one) is dict] if type(entries) is list else []


def decode_promise(entry: PromiseEntry, case: Case) -> Promise:
    """The promise of an entry.

    Raises:
        MismatchError: it contradicts itself.
    """
    fields = {name: value for name, value in vars(entry).items() if name != "sha256"}
    found: Promise = _agreeing(lambda: Promise(case=case, **fields))
    return found


def decode_baseline(entry: StoredBaseline, case: Case, content: bytes, images: Images) -> Baseline:
    """The baseline of an entry, its arrays' sidecar and its images.

    Raises:
        MismatchError: they do not agree.
    """
    total = entry.accuracy.total
    if total != len(images.index):
        raise MismatchError(f"{len(images.index)} images", f"{total}", key="accuracy.total")
    if entry.score is None and not images.labels:
        raise MismatchError("the class of each sample", "no such array", key="labels").within(
            "sidecars.images"
        )
    taken = _taken(entry, content, images)
    decoded = {
        "case": case,
        "calibration": taken.calibration or tuple(_indices(entry.calibration)),
        "correct": entry.accuracy.correct,
        "predictions": taken.predictions,
        "size": _size(entry.size),
        "numerics": _agreeing(lambda: _numerics(entry, taken, images)),
        "score": _agreeing(lambda: _score(entry, taken, images)),
    }
    snapshot = _agreeing(lambda: Snapshot(**named_alike(entry, Snapshot) | decoded))
    baseline: Baseline = _agreeing(lambda: Baseline(snapshot, entry.history))
    return baseline


def _agreeing(make: Callable[[], Any]) -> Any:
    """Call `make`; a record that contradicts itself is a mismatch."""
    try:
        return make()
    except ValueError as error:
        raise MismatchError("values that agree with each other", str(error)) from None


@dataclass(frozen=True)
class _Taken:
    """The content of the sidecar; `weights` by layer, fields of `score` by name."""

    predictions: Sequence[int]
    disagreements: tuple[int, ...]
    logits: Logits
    weights: dict[str, Quantizer]
    score: dict[str, Any]
    calibration: tuple[int, ...]


def _taken(entry: StoredBaseline, content: bytes, images: Images) -> _Taken:
    logits = entry.logits
    quantized = {layer.name: layer.weight for layer in entry.layers if layer.weight}
    try:
        arrays = Arrays(content)
        score = take_score(arrays, len(images.index)) if entry.score else {}
        predictions: Sequence[int] = score.get("predictions") or ()
        if entry.score is None or "predictions" in arrays:
            predictions = take_predictions(arrays, len(images.index), logits.classes)
        found = _Taken(
            predictions=predictions,
            disagreements=take_disagreements(arrays),
            logits=take_logits(
                arrays, logits.count, logits.classes, logits.digest, elements=logits.elements
            ),
            calibration=take_calibration(arrays),
            weights={
                name: take_quantizer(arrays, name, weight.qscheme, weight.dtype)
                for name, weight in quantized.items()
            },
            score=score,
        )
        arrays.finish()
    except MismatchError as error:
        raise error.within("sidecars.arrays") from None
    return found


def _numerics(entry: StoredBaseline, taken: _Taken, images: Images) -> Numerics:
    decoded = {
        "images": images,
        "logits": taken.logits,
        "disagreements": taken.disagreements,
        "layers": tuple(_layer(layer, taken) for layer in entry.layers),
        "operators": tuple(OperatorCount(*one) for one in entry.operators.items()),
    }
    return Numerics(**named_alike(entry, Numerics) | decoded)


def _score(entry: StoredBaseline, taken: _Taken, images: Images) -> Score | None:
    if entry.score is None:
        return None
    return Score(**vars(entry.score), **taken.score, index=images.index)


def _layer(entry: LayerEntry, taken: _Taken) -> Layer:
    decoded = {
        "weight": taken.weights[entry.name] if entry.weight else None,
        "output": Quantizer(**vars(entry.output)) if entry.output else None,
    }
    return Layer(**named_alike(entry, Layer) | decoded)


def _size(entry: SizeEntry) -> Size:
    tensors = tuple(TensorSize(one.layer, *row) for one in entry.tensors for row in one.stored)
    return Size(entry.file_bytes, entry.weight_bytes, tensors, entry.float_layers)


def _indices(ranges: tuple[tuple[int, int], ...]) -> Iterator[int]:
    total = 0
    for start, stop in ranges:
        total += stop - start
        if not start < stop <= _MOST_IMAGES or total > _MOST_CALIBRATION:
            raise MismatchError("[start, stop)", f"[{start}, {stop}]", key="calibration")
        yield from range(start, stop)
