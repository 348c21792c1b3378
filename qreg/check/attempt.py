"""Trying one method on a model: quantize, run, inspect."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from torch.ao import quantization as ao
from torch.ao.nn import quantized as nnq
from torch.ao.nn.quantized import dynamic as nnqd
from torch.utils._python_dispatch import TorchDispatchMode

from qreg.check.records import Attempt, AttemptOutcome, Remark, RemarkLevel
from qreg.check.rule import listed, mixed_scales
from qreg.data import inputs
from qreg.data.inputs import Inputs
from qreg.diagnosis.rule import FIXED_BEFORE, REWRITING
from qreg.diagnosis.run import diagnosis_of, layer_running
from qreg.errors import QregError, UnavailableError
from qreg.metrics.graphs import exported_graph, uncompiled
from qreg.metrics.quantized import layers_run, leaves_quantized, quantized_weights
from qreg.metrics.size import model_size
from qreg.quantization import Context, Method, alternatives, get_method
from qreg.quantization.engines import use_engine
from qreg.quantization.needs import check_needs, check_packing
from qreg.records.measurement import Size
from qreg.records.method import CheckpointKind

Build = Callable[[Method], nn.Module]
_SUMS = {"add": "+", "cat": "cat"}
# Of functional modules, what takes a number in place of a tensor.
_WITH_NUMBERS = ("add_scalar", "mul_scalar")
_USUAL = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LSTM, nn.GRU, nn.Embedding)


def attempt(method: str, build: Build, engine: str, batches: Sequence[Inputs]) -> Attempt:
    """Quantize a fresh model and run it, on a batch, on one sample, and with finite outputs.

    Args:
        build: makes the float model, or for QAT one with fake quantization, with its weights.
        batches: for calibration; the first samples are run.
    """
    start = time.monotonic()
    try:
        with use_engine(engine), torch.no_grad():
            found = _attempt(get_method(method), build, engine, batches)
    except UnavailableError as error:
        found = partial(
            Attempt, outcome=AttemptOutcome.UNAVAILABLE, reason=str(error), remedy=error.hint
        )
    except QregError as error:
        instead = REWRITING if isinstance(error, _NothingQuantizedError) else ()
        found = partial(
            Attempt,
            outcome=AttemptOutcome.BLOCKED,
            reason=str(error),
            remedy=error.hint,
            instead=alternatives(method, instead),
        )
    except Exception as error:
        found = partial(_blocked, error=error)
    return found(method=method, seconds=round(time.monotonic() - start, 2))


def _blocked(method: str, seconds: float, *, error: Exception) -> Attempt:
    found = diagnosis_of(error)
    return Attempt(
        method,
        AttemptOutcome.BLOCKED,
        where=found.where,
        operator=found.operator,
        reason=found.reason,
        remedy=found.remedy,
        instead=alternatives(method, found.instead),
        seconds=seconds,
        traceback="".join(traceback.format_exception(error)),
    )


def _attempt(
    method: Method, build: Build, engine: str, batches: Sequence[Inputs]
) -> Callable[..., Attempt]:
    check_needs(method, engine)
    example = inputs.head(batches[0], 2)
    model = build(method)
    ran = layers_run(model, example) if method.quantizes else []
    if method.checkpoint not in (CheckpointKind.FP32, CheckpointKind.FINETUNED):
        _observe(model, batches)
    made = method.quantize(model.eval(), Context(engine, lambda: iter(batches), example)).eval()
    check_packing(made, engine)
    with _joins() as meetings:
        output = inputs.call(made, example)
    single = inputs.head(batches[0], 1)
    with _numbers_only() as rangeless:
        inputs.call(made, single)
    size = model_size(made)
    if method.quantizes and not leaves_quantized(made, single):
        raise _nothing_quantized(method, made, size)
    if not _reads_inputs(made):
        raise QregError(
            "the traced graph does not depend on its input",
            hint="what a hook or forward keeps from a run (self.last = x) became a constant: pass "
            "it on by return values",
        )
    remarks = [
        *_not_finite(output),
        *meetings,
        *_bypassed(made, ran, example),
        *_unobserved(made, rangeless),
        *_left_float(method, size),
    ]
    return partial(
        Attempt,
        outcome=AttemptOutcome.WORKS,
        remarks=tuple(dict.fromkeys(remarks)),
        weight_bytes=size.weight_bytes,
        float_bytes=sum(one.bytes for one in size.float_weights),
    )


def _reads_inputs(model: nn.Module) -> bool:
    """Whether the output of a graph depends on any input; true of what is no graph."""
    graph = uncompiled(model)
    if not isinstance(graph, fx.GraphModule):
        return True
    left = [node for node in graph.graph.nodes if node.op == "output"]
    seen = set(left)
    while left:
        node = left.pop()
        if node.op == "placeholder":
            return True
        left += [one for one in node.all_input_nodes if one not in seen]
        seen.update(node.all_input_nodes)
    return False


class _NothingQuantizedError(QregError):
    """A method left every layer of a model in float: the gate fails what does."""


def _nothing_quantized(method: Method, quantized: nn.Module, size: Size) -> _NothingQuantizedError:
    modules = dict(uncompiled(quantized).named_modules())
    layers = dict.fromkeys(one.layer for one in size.float_weights)
    kinds = [type(modules[name]) for name in layers if name in modules]
    names = [kind.__name__ if kind is not nn.Module else "module of its own" for kind in kinds]
    counted = [f"{count} {name}" for name, count in Counter(names).most_common()]
    of = f": its weights are those of {listed(counted)}" if counted else ""
    # a traced graph has plain modules in place of the author's
    own = any(kind is nn.Module or not kind.__module__.startswith("torch.") for kind in kinds)
    if any(".parametrizations." in f".{name}." for name in layers):
        return _NothingQuantizedError(
            "no layer of this model is quantized: parametrizations compute their weights",
            hint=FIXED_BEFORE,
        )
    return _NothingQuantizedError(
        f"no layer of this model is quantized{of}",
        hint="compute with PyTorch's own layers, nn.Linear(...) for x @ weight"
        if own and not any(kind in _USUAL for kind in kinds)
        else f"{method.name} is for other kinds of layers",
    )


def _bypassed(model: nn.Module, ran: Sequence[tuple[str, ...]], batch: Inputs) -> Iterator[Remark]:
    """Layers that were quantized while the model goes on to call the float ones."""
    if isinstance(model, fx.GraphModule) or uncompiled(model) is not model or exported_graph(model):
        return
    quantized = {name for name, _ in quantized_weights(model)}
    running = {name for names in layers_run(model, batch, list(quantized)) for name in names}
    idle = [
        own_path_of(names[0])
        for names in ran
        if quantized.intersection(names) and not running.intersection(names)
    ]
    if idle:
        text = f"{listed(idle)}: quantized, but the model goes on calling the float layer"
        advice = "call it by its attribute: a list or another object keeps the float layer"
        yield Remark("bypassed", RemarkLevel.WARNING, text, advice, idle[0])


def _observe(model: nn.Module, batches: Sequence[Inputs]) -> None:
    """Let fake-quantizers that were never trained see ranges, as the first step of QAT would."""
    model.apply(ao.enable_observer)
    for batch in batches:
        inputs.call(model, batch)
    model.apply(ao.disable_observer)


def _not_finite(output: Any) -> Iterator[Remark]:
    tensors = [output] if isinstance(output, torch.Tensor) else []
    if any(t.is_floating_point() and not torch.isfinite(t).all() for t in tensors):
        text = "the quantized model's output has NaN or infinity"
        yield Remark("finite", RemarkLevel.WARNING, text, "compare it layer by layer: qreg compare")


def _left_float(method: Method, size: Size) -> Iterator[Remark]:
    """Layers whose weights stay float, with their bytes, the largest first."""
    if method.float_only:
        return
    by_layer: dict[str, int] = {}
    for tensor in size.float_weights:
        name = own_path_of(tensor.layer)
        by_layer[name] = by_layer.get(name, 0) + tensor.bytes
    largest = sorted(by_layer.items(), key=lambda pair: -pair[1])
    if largest:
        names = listed([f"{name or 'the model'} ({count:,} bytes)" for name, count in largest])
        yield Remark("float layers", RemarkLevel.NOTE, f"weights stay float in {names}")


def own_path_of(path: str) -> str:
    """A layer's name without the stubs around its model."""
    return path.removeprefix("model.")


@contextmanager
def _numbers_only() -> Iterator[set[nn.Module]]:
    """The functional modules that a run gave a number: the result's range is the tensor's."""
    found: set[nn.Module] = set()
    original = {name: getattr(nnq.QFunctional, name) for name in _WITH_NUMBERS}

    def watched(name: str) -> Callable[..., Any]:
        def run(module: nn.Module, *args: Any) -> Any:
            found.add(module)
            return original[name](module, *args)

        return run

    for name in _WITH_NUMBERS:
        setattr(nnq.QFunctional, name, watched(name))
    try:
        yield found
    finally:
        for name, run in original.items():
            setattr(nnq.QFunctional, name, run)


def _unobserved(quantized: nn.Module, rangeless: set[nn.Module]) -> Iterator[Remark]:
    """Observers that saw nothing: converting gives them scale 1 and zero point 0."""
    idle = [
        own_path_of(name)
        for name, module in quantized.named_modules()
        if not isinstance(module, nnqd.Linear)  # its ranges are the input's own
        and module not in rangeless
        and _number(getattr(module, "scale", None)) == 1.0
        and _number(getattr(module, "zero_point", None)) == 0.0
    ]
    if idle:
        text = f"calibration never reached {listed(idle)}: scale 1 and zero point 0 are a guess"
        advice = "calibrate with samples that run it, or take it out of the model"
        yield Remark("observers", RemarkLevel.WARNING, text, advice, idle[0])


def _number(value: Any) -> float | None:
    if isinstance(value, torch.Tensor):
        return float(value) if value.numel() == 1 else None
    return float(value) if isinstance(value, (int, float)) else None


class _Joins(TorchDispatchMode):
    """Looks at the scales of quantized tensors that are added or concatenated."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.remarks: list[Remark] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        space, _, name = func._schema.name.partition("::")
        sign = _SUMS.get(name.removesuffix("_relu"))
        if sign:
            scales = [t.q_scale() for t in _flat(args) if t.is_quantized]
            if len(scales) > 1:
                remark = mixed_scales(sign, scales, where=layer_running(), own=space == "quantized")
                self.remarks += [remark] if remark else []
        return func(*args, **(kwargs or {}))


def _flat(args: Any) -> list[torch.Tensor]:
    if isinstance(args, torch.Tensor):
        return [args]
    return [t for each in args for t in _flat(each)] if isinstance(args, (list, tuple)) else []


@contextmanager
def _joins() -> Iterator[list[Remark]]:
    mode = _Joins()
    with mode:
        yield mode.remarks


def plain(attempt: Attempt) -> dict[str, Any]:
    """As JSON."""
    record = asdict(attempt)
    record["outcome"] = attempt.outcome.value
    record["remarks"] = [{**asdict(r), "level": r.level.value} for r in attempt.remarks]
    return record


def of_plain(record: dict[str, Any]) -> Attempt:
    """From JSON."""
    remarks = tuple(Remark(**{**r, "level": RemarkLevel(r["level"])}) for r in record["remarks"])
    tuples = {"remarks": remarks, "instead": tuple(record["instead"])}
    return Attempt(**{**record, "outcome": AttemptOutcome(record["outcome"]), **tuples})
