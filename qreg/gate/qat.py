"""Observing a fake-quantized model: what conversion makes of it, and its own training path."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.data import inputs
from qreg.data.inputs import Inputs
from qreg.diagnosis.run import diagnosis_of
from qreg.measure.observation import WHOLE, kept_elements
from qreg.measure.subject import Subject
from qreg.metrics.tensors import sqnr
from qreg.quantization.plain_fake_quantize import (
    KINDS,
    PlainFakeQuantize,
    fake_quantizers,
    with_plain_fake_quantize,
)
from qreg.records.numerics import EQUAL_DB, Layer
from qreg.records.qat import Conversion, Deviation, RangeDifference, TrainingSteps

#: Samples on which both models are compared.
QAT_SAMPLES = 32
# Samples of the batch that is trained, and its steps.
_TRAINED, _STEPS = 2, 3
# The first step changes the weights by this share of their norm.
_STEP_SIZE = 1e-3
# Codes beyond the range's ends, and between codes, that a fake-quantizer is fed.
_BEYOND, _OFF_TIE = 3, 0.25


def is_prepared(model: nn.Module) -> bool:
    """Whether a model is fake-quantized, and not switched off."""
    return any(int(fake.fake_quant_enabled[0]) for fake in fake_quantizers(model).values())


@torch.no_grad()
def observe_conversion(subject: Subject, prepared: nn.Module, first: Inputs) -> Conversion:
    """Compare the outputs of the prepared and the converted model; ranges are added later.

    Args:
        prepared: the model that was converted, before anything changed it.
        first: inputs of `QAT_SAMPLES` samples.
    """
    given, count = first, inputs.count(first)
    fake = inputs.call(prepared, given)
    converted = subject.run(given)
    plain = copy.deepcopy(prepared)
    plain.apply(ao.disable_fake_quant)
    three = (fake, converted, inputs.call(plain, given))
    rows = [kept_elements(out, count, most=WHOLE)[0] for out in three]
    flips = None
    if all(isinstance(out, torch.Tensor) and out.ndim == 2 for out in (fake, converted)):
        flips = int(np.count_nonzero(rows[0].argmax(axis=1) != rows[1].argmax(axis=1)))
    return Conversion(count, _db(rows[1], rows[0]), _db(rows[0], rows[2]), flips, (), 0)


def _db(of: Any, relative_to: Any) -> float:
    found = sqnr(torch.from_numpy(of), torch.from_numpy(relative_to))
    return EQUAL_DB if found is None else found


def range_differences(
    prepared: nn.Module, layers: tuple[Layer, ...]
) -> tuple[tuple[RangeDifference, ...], int]:
    """Sites whose scale or zero point is not that of their fake-quantizer, and how many there are.

    Args:
        layers: of the converted model, by the names of the float model.
    """
    modules, found, sites = dict(prepared.named_modules()), [], 0
    for layer in layers:
        module = modules.get(layer.name)
        for what, attribute, seen in (
            ("weight", "weight_fake_quant", layer.weight),
            ("output", "activation_post_process", layer.output),
        ):
            fake: Any = getattr(module, attribute, None)
            if seen is None or not hasattr(fake, "fake_quant_enabled"):
                continue
            sites += 1
            scales, zeros = (one.flatten().tolist() for one in fake.calculate_qparams())
            expected = list(zip(scales, map(int, zeros), strict=True))
            observed = list(zip(seen.scales, seen.zero_points, strict=True))
            if different := _first_difference(expected, observed):
                found.append(RangeDifference(f"{layer.name}: {what}", *different))
    return tuple(found), sites


def _first_difference(
    expected: list[tuple[float, int]], observed: list[tuple[float, int]]
) -> tuple[str, str] | None:
    from qreg.checks.tolerances import STORED_SCALE

    if len(expected) != len(observed):
        return f"{len(expected)} scales", f"{len(observed)} scales"
    for (scale, zero), (own, own_zero) in zip(expected, observed, strict=True):
        if zero != own_zero or not math.isclose(scale, own, rel_tol=STORED_SCALE):
            return (
                f"scale {scale:.6g}, zero point {zero}",
                f"scale {own:.6g}, zero point {own_zero}",
            )
    return None


def _parameters(scale: float, zero: int) -> str:
    return f"scale {scale:.6g}, zero point {zero}"


def observe_training(prepared: nn.Module, first: Inputs) -> TrainingSteps | str:
    """Train a few steps, with PyTorch's fake-quantizers and with plain ones; or why that fails.

    Both are copies: `prepared` stays as it is. The loss is the mean square of the outputs, since
    what is compared is how gradients and ranges come about, not what is learned.

    Args:
        first: inputs, of which `_TRAINED` samples are the batch of every step.
    """
    model = copy.deepcopy(prepared)
    fakes = fake_quantizers(model)
    unknown = tuple(sorted({type(m).__name__ for m in fakes.values()} - set(KINDS)))
    for module in fakes.values():
        if type(module).__name__ in KINDS:  # others may be switched on otherwise
            module.enable_fake_quant()
            module.enable_observer()
    given = inputs.head(first, _TRAINED)
    plain_model, plain = with_plain_fake_quantize(model)
    try:
        expected, rate = _train(plain_model, given, 0.0)
    except Exception as error:  # the model's own code, in training mode
        return f"the training path was not exercised: {diagnosis_of(error).reason}"
    known = {n: module for n, module in fakes.items() if n in plain and _has_observed(module)}
    deviations = tuple(d for name, module in known.items() for d in _deviations(name, module))
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    losses: tuple[float, ...] = ()
    raised = ""
    try:
        losses, _ = _train(model, given, rate)
    except Exception as error:
        raised = diagnosis_of(error).reason
    if not all(map(math.isfinite, expected)):
        return "the training path was not exercised: the loss is not finite"
    apart, where = _ranges_apart(model, plain)
    return TrainingSteps(
        losses=losses if all(map(math.isfinite, losses)) else (),
        expected=expected,
        updates_apart=_updates_apart(model, plain_model, before),
        ranges_apart=apart,
        where=where,
        modules=len(known),
        deviations=deviations,
        unknown=unknown,
        raised=raised,
    )


def _train(model: nn.Module, batch: Inputs, rate: float) -> tuple[tuple[float, ...], float]:
    """The loss of each step, and the learning rate, chosen where it is 0."""
    losses = []
    with contextlib.suppress(NotImplementedError):  # exported graphs have the mode of their export
        model.train()
    weights = [one for one in model.parameters() if one.is_floating_point()]
    for one in weights:
        one.requires_grad_(True)
    with torch.random.fork_rng(devices=()), torch.enable_grad():
        torch.manual_seed(0)  # of dropout
        for _ in range(_STEPS):
            loss = _mean_square(inputs.call(model, batch))
            for one in weights:
                one.grad = None
            loss.backward()
            moved = [one for one in weights if one.grad is not None]
            rate = rate or _rate(moved)
            _descend(moved, rate)
            losses.append(loss.item())
    return tuple(losses), rate


@torch.no_grad()
def _descend(weights: list[nn.Parameter], rate: float) -> None:
    """A step of plain SGD; `torch.optim` imports for seconds what compiling needs."""
    for one in weights:
        if one.grad is not None:
            one.sub_(one.grad, alpha=rate)


def _rate(weights: list[nn.Parameter]) -> float:
    size = math.sqrt(sum(float(one.detach().square().sum()) for one in weights))
    slope = math.sqrt(
        sum(float(one.grad.square().sum()) for one in weights if one.grad is not None)
    )
    return _STEP_SIZE * size / slope if slope > 0 and math.isfinite(slope) else _STEP_SIZE


def _mean_square(outputs: Any) -> torch.Tensor:
    return torch.stack([one.square().mean() for one in _floats(outputs)]).sum()


def _floats(outputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        if outputs.is_floating_point():
            yield outputs.float()
    elif isinstance(outputs, Mapping):
        for each in outputs.values():
            yield from _floats(each)
    elif isinstance(outputs, list | tuple):
        for each in outputs:
            yield from _floats(each)


@torch.no_grad()
def _updates_apart(model: nn.Module, other: nn.Module, before: Mapping[str, torch.Tensor]) -> float:
    """The norm of the difference of two models' updates, as a share of that of `other`."""
    own = dict(model.named_parameters())
    apart = moved = 0.0
    for name, expected in other.named_parameters():
        apart += float((own[name] - expected).double().square().sum())
        moved += float((expected - before[name]).double().square().sum())
    if apart == 0:
        return 0.0
    return min(1e9, math.sqrt(apart / moved)) if moved > 0 and math.isfinite(apart) else 1e9


def _ranges_apart(model: nn.Module, plain: dict[str, PlainFakeQuantize]) -> tuple[float, str]:
    """The largest difference of a range's end as a share of the range, and its site."""
    worst, where = 0.0, ""
    for name, fake in fake_quantizers(model).items():
        if name not in plain or not _has_observed(fake):
            continue
        observer, expected = fake.activation_post_process, plain[name]
        if not hasattr(observer, "min_val"):
            continue
        size = (expected.high - expected.low).abs().clamp(min=1e-12)
        for own, other in ((observer.min_val, expected.low), (observer.max_val, expected.high)):
            if own.numel() != other.numel():
                return 1e9, name
            apart = float(((own.flatten() - other.flatten()).abs() / size.flatten()).max())
            if not apart <= worst:
                worst, where = (apart if math.isfinite(apart) else 1e9), name
    return worst, where


def _has_observed(fake: Any) -> bool:
    """Whether a fake-quantizer has a range: one of an addition that is never run has none."""
    low = getattr(fake.activation_post_process, "min_val", torch.zeros(1))
    return bool(low.numel()) and bool(torch.isfinite(low).all())


def _deviations(name: str, fake: Any) -> list[Deviation]:
    """Feed a fake-quantizer values within and beyond its range, and compare it with a plain one."""
    module = copy.deepcopy(fake)
    module.disable_observer()
    plain = PlainFakeQuantize(module)
    with torch.enable_grad():
        own, other = _ramp(plain), _ramp(plain)
        found, wanted = module(own), plain(other)
        slopes = torch.linspace(0.5, 1.5, own.numel()).reshape(own.shape)
        if found.requires_grad:
            found.backward(slopes)
        wanted.backward(slopes)
    gradient = torch.zeros_like(own) if own.grad is None else own.grad
    assert other.grad is not None
    inside = other.grad != 0
    pairs = (
        ("output", found.detach(), wanted.detach(), torch.ones_like(inside)),
        ("gradient inside the range", gradient, other.grad, inside),
        ("gradient outside the range", gradient, other.grad, ~inside),
    )
    return [one for what, a, b, mask in pairs if (one := _deviation(name, what, a, b, mask))]


def _ramp(plain: PlainFakeQuantize) -> Any:
    """Values between codes, so that none is at a tie: beyond both ends, at them, around zero."""
    low, high = plain.ends
    steps = [low - _BEYOND, low, low + 1, (low + high) // 2, high - 1, high, high + _BEYOND]
    codes = torch.tensor(steps, dtype=torch.float32) + _OFF_TIE
    scale, zero = plain.scale.reshape(-1, 1), plain.zero_point.reshape(-1, 1).float()
    values = (codes - zero) * scale
    if plain.axis is None:
        return values.reshape(-1).requires_grad_()
    shape = [1] * (plain.axis + 1) + [len(steps)]
    shape[plain.axis] = len(values)
    return values.reshape(shape).requires_grad_()


def _deviation(
    name: str, what: str, own: torch.Tensor, expected: torch.Tensor, mask: torch.Tensor
) -> Deviation | None:
    if own.shape != expected.shape:
        return Deviation(name, f"shape of the {what}", float(expected.numel()), float(own.numel()))
    near = torch.isclose(own, expected, rtol=1e-5, atol=0.0) | ~mask
    wrong = torch.nonzero(~near.flatten())
    if not len(wrong):
        return None
    at = int(wrong[0])
    observed = float(own.flatten()[at])
    if not math.isfinite(observed):
        observed = math.copysign(1e30, observed) if not math.isnan(observed) else 1e30
    return Deviation(name, what, float(expected.flatten()[at]), observed)
