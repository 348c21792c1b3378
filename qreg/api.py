"""The Python API for notebooks and other programs: `qreg.compare` and `qreg.judge`.

They take what the command line takes by name, and objects: a module or its factory, a `Dataset`,
a `Method` or a function. Nothing here imports torch before a function is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from qreg.artifacts.names import ONNXRUNTIME
from qreg.data import DATASETS, Dataset, get_dataset
from qreg.errors import ContractError, UnavailableError
from qreg.models import MODELS
from qreg.quantization import METHODS, Method, MethodInfo, method_info
from qreg.quantization.engines import (
    available_engines,
    check_engine,
    default_engine,
    engines_for,
)
from qreg.records.case import Case, Failure
from qreg.records.comparison import Comparison
from qreg.records.method import CheckpointKind
from qreg.records.verdict import Verdict

if TYPE_CHECKING:
    from torch import nn

    from qreg.measure.comparison import Observe
    from qreg.measure.options import Options
    from qreg.quantization import Context

    Model: TypeAlias = str | nn.Module | Callable[[], nn.Module]
    #: Beside names, paths and `Dataset`: what `qreg.data.objects` makes one of.
    GivenDataset: TypeAlias = str | Path | object
    GivenMethod: TypeAlias = str | Method | Callable[[nn.Module, Context], nn.Module]

#: Default methods of `compare` in addition to fp32: those that need no other weights.
USUAL_METHODS = tuple(
    info.name
    for info in METHODS.facts()
    if info.default
    and not info.per_tensor
    and info.checkpoint == CheckpointKind.FP32
    and not info.float_only
)
# Names of objects that have none: `given:Net` is a model's name like ``package.module:Net``.
_GIVEN = "given"


def compare(
    model: Model = "simple_cnn",
    dataset: GivenDataset = "shapes10",
    *,
    methods: Sequence[GivenMethod] = USUAL_METHODS,
    engines: Sequence[str] = (),
    name: str = "",
    options: Options | None = None,
    details: bool = False,
    observe: Observe | None = None,
) -> Comparison:
    """Measure a model and its quantized versions on the same test samples.

    Args:
        model: a name as on the command line; or a float module, which is copied and stays as it
            is; or a function that returns a fresh one.
        dataset: a name or a path as on the command line; or a `Dataset`, a
            `torch.utils.data.Dataset`, or a dict of them by split (train, test).
        methods: names, `Method` objects, or functions ``(model, context) -> model``. fp32 is
            always measured, first.
        engines: names, or ``("all",)``; by default the first available one. Methods without
            quantized kernels are measured on one engine.
        name: the name of a model given as an object; by default that of its class or function.
        options: how to measure; see `qreg.Options`.
        details: also collect what a page shows: samples that changed, layers, classes.
        observe: runs cases on all samples elsewhere: a `qreg.measure.sharded.Sharding`. Models and
            datasets that are objects here exist in this process only.

    Returns:
        Comparison: a tuple with a measurement for each method and engine, or a `Failure` that
            says why there is none; fp32's first.

    Raises:
        QregError: a problem with all cases: the model, the dataset, an unknown name.
    """
    from qreg.measure.comparison import measure
    from qreg.measure.options import Options

    chosen = options or Options()
    with _named(model, dataset, methods, name=name) as (model_name, dataset_name, names):
        cases = comparison_cases(dataset_name, model_name, names, engines)
        chosen.apply_threads()
        return measure(cases, chosen, details=details, observe=observe)


def judge(
    case: Case | str,
    *,
    model: Model | None = None,
    dataset: GivenDataset | None = None,
    method: GivenMethod | None = None,
    baselines: Path | None = None,
    full: bool = False,
    options: Options | None = None,
) -> Verdict:
    """Judge a case by its approved baseline, as ``pytest -m regression`` does.

    Args:
        case: a `Case`, or its name: ``dataset/model/method@engine``.
        model, dataset, method: objects to measure under the case's names, as in `compare`.
        baselines: a folder; by default the project's.
        full: use the whole test set, not only the gate's samples.
        options: how to measure; by default with one thread, like the recorded baselines.

    Returns:
        Verdict: `Verdict.outcome` is an `Outcome`, and only PASS is silent.

    Raises:
        UnavailableError: this machine lacks what the case needs.
        QregError: the case's name, the data, or the folder of baselines.
    """
    from qreg.baselines.folder import baseline_root
    from qreg.gate.pool import JudgeRequest
    from qreg.measure.options import ONE_THREAD
    from qreg.selection import project_settings

    asked = case if isinstance(case, Case) else Case.parse(case)
    settings = project_settings()
    given = options or ONE_THREAD
    if dataset is not None:  # no other source of that name
        given = replace(given, sources=((asked.dataset, asked.dataset),))
    request = JudgeRequest(
        settings=settings,
        baselines=baseline_root(baselines, own=settings.baselines),
        alpha=_alone(),
        options=given,
        full=full,
    )
    with ExitStack() as stack:
        stack.enter_context(_threads_kept())
        judging = request.judge()  # defines the project's own names, which the objects then replace
        _provide(stack, asked, model, dataset, method)
        found = judging.verdict(asked)
    if isinstance(found, Failure):
        raise UnavailableError(found.reason, hint=found.hint)
    return found


@contextmanager
def _threads_kept() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _alone() -> float:
    from qreg.stats.holm import family_alpha

    return family_alpha(1)


def _provide(
    stack: ExitStack,
    case: Case,
    model: Model | None,
    dataset: GivenDataset | None,
    method: GivenMethod | None,
) -> None:
    """Let the names of a case refer to these objects in this context."""
    if model is not None:
        stack.enter_context(MODELS.meaning({case.model: _factory(model)}))
    if dataset is not None:
        opened = get_dataset(str(dataset)) if isinstance(dataset, str | Path) else dataset
        if isinstance(opened, Dataset):
            opened = replace(opened, name=case.dataset)
        stack.enter_context(_dataset_meaning(case.dataset, opened))
    if method is not None:
        stack.enter_context(METHODS.meaning({case.method: _method(method, case.method)}))


def comparison_cases(
    dataset: str, model: str, methods: Sequence[str], engines: Sequence[str] = ()
) -> tuple[Case, ...]:
    """fp32, then each method on each engine; what is float only on the machine's first engine.

    Raises:
        UnknownNameError: a method or an engine is not known.
        UnavailableError: this PyTorch has no quantized engine.
    """
    home = default_engine()
    chosen = tuple(check_engine(one) for one in engines if one != "all") or (home,)
    chosen = available_engines() if "all" in engines else chosen
    return tuple(
        Case(dataset, model, method, engine)
        for method in dict.fromkeys(("fp32", *methods))
        for engine in _measured_on(method_info(method), home, chosen)
    )


def _measured_on(method: MethodInfo, home: str, chosen: Sequence[str]) -> tuple[str, ...]:
    engines = engines_for(method, chosen)
    return (home,) if method.float_only and ONNXRUNTIME not in engines else engines


@contextmanager
def _named(
    model: Model, dataset: GivenDataset, methods: Sequence[GivenMethod], *, name: str
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Names for what was given as objects, while they last."""
    with ExitStack() as stack:
        model_name = model if isinstance(model, str) else name or _own_name(model)
        if not isinstance(model, str):
            stack.enter_context(MODELS.meaning({model_name: _factory(model)}))
        dataset_name = _dataset_name(dataset)
        if not isinstance(dataset, str | Path):
            stack.enter_context(_dataset_meaning(dataset_name, dataset))
        names = tuple(_method_name(one) for one in methods)
        objects = {
            called: _method(one, called)
            for called, one in zip(names, methods, strict=True)
            if not isinstance(one, str)
        }
        stack.enter_context(METHODS.meaning(objects))
        yield model_name, dataset_name, names


def _factory(model: Model) -> Any:
    """What a registry returns for a model."""
    if isinstance(model, str):
        return MODELS.get(model)
    if _is_module(model):
        from qreg.models.copies import copied

        module = cast("nn.Module", model)
        return lambda: copied(module)
    if callable(model):
        return model
    raise ContractError(
        f"a {type(model).__name__} is not a model",
        hint="give a name, a torch.nn.Module, or a function that returns one",
    )


def _dataset_name(dataset: GivenDataset) -> str:
    if isinstance(dataset, str | Path):
        return str(dataset)
    return dataset.name if isinstance(dataset, Dataset) else _own_name(dataset)


def _dataset_meaning(name: str, dataset: Any) -> AbstractContextManager[None]:
    return DATASETS.meaning({name: dataset})


def _is_module(thing: object) -> bool:
    from torch import nn

    return isinstance(thing, nn.Module)


def _method(method: GivenMethod, name: str) -> Method:
    if isinstance(method, Method):
        return replace(method, name=name)
    if isinstance(method, str):
        from qreg.quantization import get_method

        return replace(get_method(method), name=name)
    return Method(name=name, quantize=method)


def _method_name(method: GivenMethod) -> str:
    if isinstance(method, str):
        return method
    return method.name if isinstance(method, Method) else _own_name(method)


def _own_name(thing: object) -> str:
    """``given:Net``, of a class's or function's name."""
    own = getattr(thing, "__name__", type(thing).__name__)
    plain = re.sub(r"\W", "", str(own).rpartition(".")[2]) or type(thing).__name__
    return f"{_GIVEN}:{plain}"
