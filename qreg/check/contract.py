"""Observing the float model on a few inputs, to judge its contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.ao import quantization as ao

from qreg.check.records import ObservedModel
from qreg.data import Batch, Dataset, inputs
from qreg.data.inputs import Inputs
from qreg.diagnosis.run import diagnosis_of
from qreg.errors import LabelRangeError, QregError
from qreg.measure.observation import Observer
from qreg.metrics.graphs import can_be_watched
from qreg.models import CHOOSE_OUTPUT
from qreg.models.copies import attributes_kept
from qreg.models.stubs import Stubbed
from qreg.quantization.pt2e import export_graph
from qreg.tasks import TASKS, get_task

_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
_QUIET = (nn.Identity, nn.Dropout, nn.Flatten, ao.QuantStub, ao.DeQuantStub)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Batches of inputs, and labels where there are any.

    Attributes:
        scored: one batch with its targets, and their dataset; None of random inputs.
        computed: see `Samples.computed`.
    """

    batches: tuple[Inputs, ...]
    labels: torch.Tensor | None = None
    classes: int = 0
    scored: tuple[Batch, Dataset] | None = None
    computed: bool = False


@torch.no_grad()
def observe_contract(model: nn.Module, labelled: Labelled) -> ObservedModel:
    """Run a float model, in evaluation mode, on a few inputs.

    Raises:
        Exception: whatever it raises on an ordinary batch.
    """
    if names := quantized_modules(model):
        return ObservedModel(quantized=names)
    batch = labelled.batches[0]
    before = {name: each.clone() for name, each in model.named_buffers()}
    with _outputs(model) as first:
        outputs = inputs.call(model, batch)
    written = tuple(
        own_path(model, name)
        for name, each in model.named_buffers()
        if name in before and not _same(each, before[name])
    )
    with _outputs(model) as again:
        inputs.call(model, batch)
    logits = _tensor(outputs)
    alone, apart = _alone(model, batch, logits)
    return ObservedModel(
        outputs=logits.shape[1] if logits is not None and logits.ndim == 2 else 0,
        classes=labelled.classes,
        shape=_not_first(outputs, inputs.count(batch)),
        samples=inputs.count(batch),
        alone=alone,
        random=_first(first, again, lambda a, b: not _same(a, b)),
        written=written,
        not_finite=_first(first, again, lambda a, _: not _finite(a)),
        neighbours=apart,
        constant=_constant(model, batch, logits),
        repeated=_repeated(model, first),
        **_accuracy(model, labelled),
        **_task(model, labelled),
    )


def _not_first(outputs: Any, samples: int) -> tuple[int, ...]:
    """The shape of a single output whose first dimension is not the samples."""
    one = isinstance(outputs, torch.Tensor) and outputs.shape[:1] != (samples,)
    return tuple(outputs.shape) if one else ()


def _task(model: nn.Module, labelled: Labelled) -> dict[str, Any]:
    """The dataset's task; why it cannot score the outputs, and the tasks that can."""
    if labelled.scored is None:
        return {}
    batch, dataset = labelled.scored
    found = inputs.call(model, batch.inputs)
    misfit, remedy = _misfit(found, batch, dataset)
    known: dict[str, Any] = {"task": dataset.task, "computed": labelled.computed}
    if not misfit:
        return known
    if remedy:
        return {**known, "misfit": misfit, "remedy": remedy}
    others = (replace(dataset, task=name) for name in TASKS.names())
    fitting = [one.task for one in others if not _misfit(found, batch, one)[0]]
    # what needs no targets fits everything
    told = [name for name in fitting if not get_task(name).against_reference]
    return {**known, "misfit": misfit, "fitting": tuple(told or fitting)}


def _misfit(outputs: Any, batch: Batch, dataset: Dataset) -> tuple[str, str]:
    """Why the task cannot score the outputs, and what to do where the task is not the matter."""
    try:
        Observer(dataset).add(outputs, batch)
    except LabelRangeError as error:
        return _without(dataset.task, error), error.hint
    except QregError as error:
        several = dataset.task == "classification" and isinstance(outputs, (dict, tuple, list))
        return _without(dataset.task, error), CHOOSE_OUTPUT if several else ""
    return "", ""


def _without(task: str, error: QregError) -> str:
    return str(error).removeprefix(f"task '{task}': ").removeprefix(f"task '{task}' ")


def observe_tracing(model: nn.Module, example: Inputs) -> dict[str, str]:
    """Why torch.fx cannot trace a model, and torch.export not export it; "" where they can."""
    return {
        "fx": _why(model, lambda: fx.symbolic_trace(model)),
        "export": _why(model, lambda: export_graph(model, example)),
    }


def _why(model: nn.Module, trace: Callable[[], Any]) -> str:
    try:
        with attributes_kept(model):
            trace()
    except Exception as error:
        found = diagnosis_of(error)
        return f"{found.where}: {found.reason}" if found.where else found.reason
    return ""


def quantized_modules(model: nn.Module) -> tuple[str, ...]:
    """Modules of a model that are quantized already, by path."""
    found = [
        own_path(model, name) or "the model"
        for name, module in model.named_modules()
        if type(module).__module__.startswith(_QUANTIZED) and "_packed_params" not in name
    ]
    return tuple(found or dict.fromkeys(_quantized_tensors(model)))


def _quantized_tensors(model: nn.Module) -> Iterator[str]:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        subclass = hasattr(tensor, "__tensor_flatten__") and type(tensor) is not nn.Parameter
        if tensor.is_quantized or subclass or hasattr(tensor, "qdata"):
            yield own_path(model, name)


def own_path(model: nn.Module, path: str) -> str:
    """The path in the author's model, which may stand between stubs."""
    return path.removeprefix("model").lstrip(".") if isinstance(model, Stubbed) else path


LayerOutputs = list[tuple[str, Any]]


@contextmanager
def _outputs(model: nn.Module) -> Iterator[LayerOutputs]:
    """The output of every layer, in the order they run; at the end, the model's own as ""."""
    seen: LayerOutputs = []

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            found = _tensor(output)
            seen.append((name, None if found is None else found.clone()))

        return keep

    handles = [
        module.register_forward_hook(hook(own_path(model, name)))
        for name, module in model.named_modules()
        if not isinstance(module, _QUIET) and can_be_watched(module)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _tensor(output: Any) -> torch.Tensor | None:
    """The output's first tensor."""
    if isinstance(output, torch.Tensor):
        return output
    nested = list(output.values()) if isinstance(output, dict) else output
    if not isinstance(nested, (list, tuple)):
        return None
    return next((found for each in nested if (found := _tensor(each)) is not None), None)


def _first(
    first: LayerOutputs, again: LayerOutputs, differs: Callable[[Any, Any], bool]
) -> str | None:
    for (name, one), (_, other) in zip(first, again, strict=False):
        if one is not None and other is not None and differs(one, other):
            return name
    return None


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype is not other.dtype or one.shape != other.shape:
        return False
    return bool(torch.equal(one.nan_to_num(), other.nan_to_num()))


def _finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _alone(model: nn.Module, batch: Inputs, logits: torch.Tensor | None) -> tuple[str, float]:
    """Why the first sample cannot be run alone; else by how much its output changes then."""
    try:
        single = _tensor(inputs.call(model, inputs.head(batch, 1)))
    except Exception as error:
        found = diagnosis_of(error)
        return (f"{found.where}: {found.reason}" if found.where else found.reason), 0.0
    if logits is None or single is None:
        return "", 0.0
    if single.shape[:1] != (1,) or single.shape[1:] != logits.shape[1:]:
        return f"its output has shape {tuple(single.shape)}, not (1, ...)", 0.0
    scale = float(logits.abs().max())
    apart = float((single[0] - logits[0]).abs().max())
    return "", apart / scale if scale > 0 and apart == apart else 0.0


def _constant(model: nn.Module, batch: Inputs, logits: torch.Tensor | None) -> bool:
    """Whether all samples, and a second batch of other values, have the same output."""
    if logits is None or len(logits) < 2 or not _finite(logits):
        return False
    other = inputs.mapped_float(batch, lambda each: each.flip(0) * 1.5 + 0.5)
    moved = _tensor(inputs.call(model, other))
    spread = (logits - logits[:1]).abs().max()
    return float(spread) == 0.0 and moved is not None and torch.equal(moved, logits)


def _repeated(model: nn.Module, outputs: LayerOutputs) -> tuple[tuple[str, int], ...]:
    runs = Counter(name for name, _ in outputs)
    inner = {
        own_path(model, name)
        for name, module in model.named_modules()
        if next(module.children(), None) is None
    } - {""}  # the model itself, which its stubs run
    return tuple((name, count) for name, count in runs.items() if count > 1 and name in inner)


def _accuracy(model: nn.Module, labelled: Labelled) -> dict[str, Any]:
    if labelled.labels is None:
        return {}
    found = [_tensor(inputs.call(model, batch)) for batch in labelled.batches]
    outputs = [each for each in found if each is not None]
    fewest = labelled.classes or int(labelled.labels.max()) + 1
    if not outputs or any(each.ndim != 2 or each.shape[1] < fewest for each in outputs):
        return {}
    predicted = torch.cat(outputs)[:, : labelled.classes or None].argmax(dim=1)
    most = int(torch.bincount(labelled.labels, minlength=labelled.classes).max())
    correct = int((predicted == labelled.labels).sum())
    return {"correct": correct, "total": len(labelled.labels), "chance": most}


def plain(observed: ObservedModel) -> dict[str, Any]:
    """As JSON."""
    return asdict(observed)
