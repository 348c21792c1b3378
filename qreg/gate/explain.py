"""Explaining a regression: the first diverging layer, its share of it, and saturation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from qreg.artifacts.onnx_file import OnnxModel
from qreg.artifacts.torchscript import is_script
from qreg.checks.layers import moved_layers
from qreg.checks.tolerances import tolerances
from qreg.checks.verdict import with_finding
from qreg.data import inputs
from qreg.errors import QregError
from qreg.gate.observe import Gate
from qreg.gate.samples import GateSamples
from qreg.measure.observation import KEPT_ELEMENTS, WHOLE, kept_elements
from qreg.measure.saturation import audit_case
from qreg.measure.subject import Subject
from qreg.metrics.layers import float_twin
from qreg.metrics.saturation import KERNELS
from qreg.metrics.swap import restored
from qreg.metrics.swap_file import restored_file, weights_by_layer
from qreg.quantization.engines import use_engine
from qreg.records.baseline import Snapshot
from qreg.records.case import Environment
from qreg.records.measurement import LayerSaturation
from qreg.records.numerics import Layer
from qreg.records.verdict import Check, Finding, Outcome, Verdict

# Environment variables that may keep kernels from using VNNI.
_KEEP = ("DNNL_MAX_CPU_ISA=", "FBGEMM_ENABLE_INSTRUCTIONS=", "ONEDNN_MAX_CPU_ISA=")
# Samples that are run with the layer restored, and samples for counting overflows.
_RESTORE_SAMPLES, _AUDIT_SAMPLES = 64, 4
# Layers that are restored one after the other, and the share from which one is to blame: what
# restoring an innocent layer changes is rounding, a percent or two either way.
_TRIED_LAYERS, _SMALLEST_SHARE = 8, 0.05


Restore = Callable[[Layer], AbstractContextManager[Subject | None]]


def explain(verdict: Verdict, observed: Snapshot, baseline: Snapshot, gate: Gate) -> Verdict:
    """Add to a verdict the first diverging layer, confirmed by restoring only that layer.

    Where the CPU now adds int8 products in saturating pairs, overflows in that layer are counted
    too, and a saturation is reported as such.
    """
    if verdict.outcome is Outcome.PASS or verdict.basis is None:
        return verdict
    if any(finding.outcome is Outcome.INCOMPARABLE for finding in verdict.findings):
        return verdict  # other weights or samples: every layer differs
    allowed = tolerances(observed, baseline, verdict.basis)
    moved = moved_layers(observed.numerics.layers, baseline.numerics.layers, allowed)
    name = moved[0][0] if moved else ""
    if not name:  # every layer is within its tolerance, but the logits are not
        return _saturation(verdict, observed, baseline, name, gate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer, located = _located(moved, baseline, gate.samples(observed.case.dataset))
    note = f"first diverging layer: {located}"
    verdict = replace(verdict, notes=(*verdict.notes, note), layer=layer)
    return _saturation(verdict, observed, baseline, name, gate)


def _located(
    moved: Sequence[tuple[str, bool]], baseline: Snapshot, samples: GateSamples
) -> tuple[str, str]:
    """The first layer whose parameters moved, or whose restoring has an effect; "" if none has.

    A layer with unchanged parameters whose restoring changes nothing only propagates a difference
    from before it, outside of layers: in a functional operator, for example.

    Returns:
        Its name, and what was found as text.
    """
    subject = samples.subject(baseline.case)
    if not isinstance(subject, Subject):
        return moved[0][0], moved[0][0]
    if is_script(subject.model):
        name, own = moved[0]
        return name, f"{name} ({'its parameters' if own else 'only its output'} changed)"
    restore = _restoring(subject)
    for name, own in moved[:_TRIED_LAYERS]:
        note, share = _confirmed(name, subject, restore, baseline, samples)
        if own or share is None or share >= _SMALLEST_SHARE:
            return name, f"{name} ({note})"
    tried = ", ".join(name for name, _ in moved[:_TRIED_LAYERS])
    return "", f"not found among the layers that can be restored (tried {tried})"


def _restoring(subject: Subject) -> Restore:
    """How a layer of a case is restored: in its modules or graph, or in a copy of its file."""
    model = subject.model
    if isinstance(model, OnnxModel):
        weights = weights_by_layer(subject.source)

        @contextmanager
        def in_file(layer: Layer) -> Iterator[Subject | None]:
            made = restored_file(model, layer, weights)
            yield None if made is None else replace(subject, model=made)

        return in_file
    twin = float_twin(subject.source, model)  # once: it fuses the source

    @contextmanager
    def in_place(layer: Layer) -> Iterator[Subject | None]:
        with restored(model, twin, layer) as possible:
            yield subject if possible else None

    return in_place


def _confirmed(
    name: str, subject: Subject, restore: Restore, baseline: Snapshot, samples: GateSamples
) -> tuple[str, float | None]:
    """The effect of restoring a layer as text, and its share; None where there is no number."""
    layer = next(layer for layer in baseline.numerics.layers if layer.name == name)
    try:
        share = _share(subject, restore, layer, baseline, samples)
    except Exception as error:
        return f"restoring it failed: {type(error).__name__}: {error}", None
    if share is None:
        return "a layer of this kind cannot be restored alone", None
    if not math.isfinite(share):
        return "its share is unknown: the first logits are equal, or not finite", None
    return f"restoring it removes {share * 100:.0f} % of the difference of the logits", share


@torch.no_grad()
def _share(
    subject: Subject, restore: Restore, layer: Layer, baseline: Snapshot, samples: GateSamples
) -> float | None:
    """The share of the logits' squared difference from the baseline that one layer causes.

    Returns:
        A share, not finite where there is no difference; None for a layer that cannot be
        restored.
    """
    images, (rows, wanted) = samples.first(_RESTORE_SAMPLES), _wanted(baseline, samples)
    count, classes = inputs.count(images), wanted.shape[1]
    # of a classifier all logits are kept, however many
    most = KEPT_ELEMENTS if baseline.numerics.logits.elements else WHOLE

    def outputs(of: Subject) -> npt.NDArray[np.float32]:
        return kept_elements(of.run(images), count, most=most)[0][rows, :classes]

    with use_engine(subject.case.engine):
        apart = outputs(subject) - wanted
        with restore(layer) as possible:
            if possible is None:
                return None
            left = outputs(possible) - wanted
    whole = float(np.square(apart, dtype=np.float64).sum())
    return 1 - float(np.square(left, dtype=np.float64).sum()) / whole if whole else math.nan


def _wanted(baseline: Snapshot, samples: GateSamples) -> tuple[list[int], npt.NDArray[np.float32]]:
    """The rows of the first samples of which the baseline has logits, and those logits."""
    logits, images = baseline.numerics.logits, baseline.numerics.images
    kept = {images.index[position]: row for row, position in enumerate(logits.positions)}
    first = samples.gate.index[:_RESTORE_SAMPLES].tolist()
    rows = [row for row, index in enumerate(first) if index in kept]
    values = np.frombuffer(logits.values, "<f4").reshape(logits.count, logits.classes)
    return rows, values[[kept[first[row]] for row in rows]]


def _saturation(
    verdict: Verdict, observed: Snapshot, baseline: Snapshot, name: str, gate: Gate
) -> Verdict:
    here, there = observed.environment, baseline.environment
    if observed.case.engine not in KERNELS or not _in_pairs(here) or _in_pairs(there):
        return verdict
    options = replace(gate.samples(observed.case.dataset).options, limit=_AUDIT_SAMPLES)
    try:
        counted = audit_case(observed.case, options)
    except QregError:
        return verdict
    hit = [c for c in counted if not c.halved and c.overflows and name in ("", c.layer)]
    return with_finding(verdict, _saturated(hit[0], here.limits)) if hit else verdict


def _in_pairs(environment: Environment) -> bool:
    """Whether int8 products may be added in 16 bits: VNNI is missing or disabled."""
    return not environment.vnni or any(limit.startswith(_KEEP) for limit in environment.limits)


def _saturated(layer: LayerSaturation, limits: tuple[str, ...]) -> Finding:
    why = f" ({', '.join(limits)})" if limits else ""
    return Finding(
        check=Check.SATURATION,
        outcome=Outcome.REGRESSED,
        expected="int8 products added without saturating, as with VNNI",
        observed=f"{layer.outputs_hit / layer.outputs:.2%} of outputs have a sum that overflows "
        f"16 bits on a CPU without VNNI{why}",
        allowed="none: quantize with reduce_range, or use another engine",
        where=layer.layer,
    )
