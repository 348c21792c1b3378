"""Building the model of a case, ready to run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qreg.artifacts.load import file_of
from qreg.artifacts.names import ONNXRUNTIME, is_file_name
from qreg.artifacts.onnx_file import OnnxModel
from qreg.check.alternatives import works
from qreg.data import Dataset, Samples, SplitName, inputs
from qreg.data.draw import Draw
from qreg.data.inputs import Inputs
from qreg.diagnosis.run import raised_failure
from qreg.errors import (
    MissingCheckpointError,
    MissingFileError,
    ModelFileError,
    QregError,
    UnavailableError,
)
from qreg.measure.code_state import function_state
from qreg.measure.environment import capture_environment
from qreg.measure.options import Options
from qreg.measure.recorded_warnings import recorded_warnings, silence_one_time_warnings
from qreg.metrics.graphs import uncompiled
from qreg.metrics.operators import count_operators
from qreg.models import build_model, check_logits, is_shipped
from qreg.models.contract import tried
from qreg.models.weights import state_digest
from qreg.quantization import Context, Method, get_method, method_info, train_command
from qreg.quantization.engines import use_engine
from qreg.quantization.needs import check_needs, check_packing, failed_by_old_torchao
from qreg.quantization.sharing import SharedRanges
from qreg.records.case import Case, Environment, Failure
from qreg.records.method import Need
from qreg.records.numerics import OperatorCount
from qreg.records.weights import Weights
from qreg.training.loading import load_trained

_CALIBRATION_BATCH = 64


@dataclass(frozen=True, eq=False)
class Subject:
    """A case that is ready to run.

    Attributes:
        source: the model with its weights, before quantization; never the quantized model itself.
        weights: where they are from, and which.
        warnings: distinct texts emitted while it was built and first run.
        prepared: the fake-quantized graph that was converted; None of methods without one.
    """

    case: Case
    method: Method
    model: nn.Module
    source: nn.Module
    weights: Weights
    calibration: tuple[int, ...]
    warnings: tuple[str, ...]
    prepared: nn.Module | None = None

    @property
    def environment(self) -> Environment:
        """What it runs on."""
        by_onnxruntime = isinstance(self.model, OnnxModel)
        return capture_environment(ONNXRUNTIME if by_onnxruntime else "")

    def run(self, batch: Inputs) -> Any:
        """Outputs of a batch, on this case's engine; logits (N, classes) of a classifier."""
        # Kernels read the current engine at every call, not only when weights are packed.
        if self.case.engine != ONNXRUNTIME:
            torch.backends.quantized.engine = self.case.engine
        return inputs.call(self.model, batch)


def operators_of(subject: Subject, batch: Inputs) -> tuple[OperatorCount, ...]:
    """The operators of one forward pass; of an ONNX model those that onnxruntime runs."""
    if isinstance(subject.model, OnnxModel):
        return subject.model.operators()
    compiled = uncompiled(subject.model) is not subject.model
    return count_operators(subject.run, batch, compiled=compiled)


@dataclass(frozen=True)
class CaseSetup:
    """What cases are built from.

    Attributes:
        folders: the folders of checkpoints.
        calibration: returns the calibration samples; only called if a method needs them.
        sample: a batch of test samples, to verify that a model runs.
        loaded: the float model of the last separate method, with the texts of warnings: the next
            file of the same model is compared with it, too.
        ranges: what methods of the model observed before; None: each observes for itself.
    """

    dataset: Dataset
    folders: tuple[Path, ...]
    calibration: Callable[[], Samples]
    sample: Inputs
    loaded: dict[object, tuple[nn.Module, Weights, set[str]]] = field(default_factory=dict)
    ranges: SharedRanges | None = None


def prepare(case: Case, setup: CaseSetup) -> Subject | Failure:
    """Build the model of a case, load its weights, quantize it and run it once.

    What is the case's own fault is returned: an engine or checkpoint that is not there, code
    that raises.

    Raises:
        QregError: what concerns other cases too: an unknown name, a damaged file, a factory
            that does not keep its contract.
    """
    try:
        return _prepare(case, setup)
    except MissingCheckpointError as error:
        hint = f"create it with: {train_command(case.model, case.dataset, case.method)}"
        return Failure(case, str(error), hint, unavailable=True)
    except UnavailableError as error:
        lacks = getattr(error, "lacks", "")
        return Failure(case, str(error), error.hint, unavailable=True, lacks=lacks)
    except (MissingFileError, ModelFileError) as error:
        return Failure(case, str(error), error.hint, unavailable=False)
    except QregError:
        raise
    except (Exception, SystemExit) as error:  # a model that ends the process ends its case
        if package := _missing_package(error):
            lacking = UnavailableError.of_package(package, error)
            reason, hint = str(lacking), lacking.hint
            return Failure(case, reason, hint, unavailable=True, lacks=package)
        needs_torchao = Need.TORCHAO in method_info(case.method).requires
        if needs_torchao and (old := failed_by_old_torchao(error)):
            return Failure(case, str(old), old.hint, unavailable=True, lacks="torchao")
        return raised_failure(case, error, partial(_works_instead, case, setup))


def _works_instead(case: Case, setup: CaseSetup, names: tuple[str, ...]) -> dict[str, bool]:
    def build(method: Method) -> nn.Module:
        return _load(case, method, setup)[0]

    return works(names, build, case.engine, [setup.sample])


#: Packages built for one PyTorch version each that a model's code may import.
_PACKAGES = ("torchvision", "torchao", "timm", "onnx", "onnxruntime", "onnxscript")


def _missing_package(error: BaseException) -> str:
    """Which of these is not installed, or does not fit this PyTorch; "" for another error."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        return package if package in _PACKAGES else ""
    # torchvision's own code says so when it was built for another PyTorch
    return "torchvision" if "operator torchvision::" in str(error) else ""


def _prepare(case: Case, setup: CaseSetup) -> Subject:
    method, shared = get_method(case.method), setup.ranges
    observed: list[int] = []
    graphs: list[nn.Module] = []

    def calibration() -> Iterator[Inputs]:
        split = shared.calibration(setup.calibration) if shared else setup.calibration()
        observed.extend(split.index.tolist())
        return (batch.inputs for batch in split.batches(_CALIBRATION_BATCH))

    with use_engine(case.engine), recorded_warnings() as texts, torch.no_grad():
        check_needs(method, case.engine)
        model, weights = _load_once(case, method, setup, texts)
        source = model if method.separate else copy.deepcopy(model)
        if file_of(model) is not None and not method.takes_file:
            raise UnavailableError(
                f"{method.name} quantizes PyTorch's modules, and the float model is a file",
                hint="methods for a file: ort-static, ort-dynamic, or another file: file:PATH",
            )
        context = Context(case.engine, calibration, setup.sample, graphs.append, shared)
        model = method.quantize(model.eval(), context).eval()
        check_packing(model, case.engine)
        logits = inputs.call(model, setup.sample)
    with use_engine(case.engine), recorded_warnings(), torch.no_grad():
        inputs.call(model, inputs.head(setup.sample, 1))  # a batch of one is measured, too
    classes = len(setup.dataset.classes)
    check_logits(
        case.model,
        logits,
        batch=inputs.count(setup.sample),
        classes=classes,
        task=setup.dataset.task,
    )
    seen = tuple(dict.fromkeys(observed))
    prepared = graphs[-1] if graphs else None
    return Subject(case, method, model, source, weights, seen, tuple(sorted(texts)), prepared)


def _load_once(
    case: Case, method: Method, setup: CaseSetup, texts: set[str]
) -> tuple[nn.Module, Weights]:
    """The float model: for separate methods, which leave it as it is, the same one again."""
    if not method.separate:
        return _load(case, method, setup)
    key = (case.model, case.engine, method.checkpoint, method.skeleton)
    if key not in setup.loaded:
        setup.loaded.clear()
        with recorded_warnings() as emitted:
            model, weights = _load(case, method, setup)
        setup.loaded[key] = model.eval(), weights, emitted
    model, weights, emitted = setup.loaded[key]
    texts |= emitted
    return model, weights


def _load(case: Case, method: Method, setup: CaseSetup) -> tuple[nn.Module, Weights]:
    def build() -> nn.Module:
        model = build_model(case.model)
        if not is_shipped(case.model):
            classes = len(setup.dataset.classes)
            model = tried(
                model, setup.sample, name=case.model, classes=classes, task=setup.dataset.task
            )
        return method.skeleton(model)

    return load_trained(case.model, setup.dataset.name, method.checkpoint, setup.folders, build)


def describe_float(case: Case, setup: CaseSetup) -> tuple[str, ...]:
    """The environment, and the method, weights and structure that a case is made of.

    Raises:
        QregError, or what the model's own code raises: it cannot be built.
    """
    if is_file_name(case.method):
        raise UnavailableError(f"{case.method} is a file", hint="its content is judged each time")
    method = get_method(case.method)
    with use_engine(case.engine), recorded_warnings(), torch.no_grad():
        check_needs(method, case.engine)
        model, weights = _load(case, method, setup)
        where = Subject(case, method, model, model, weights, (), ()).environment
    kinds = [
        f"{name} {type(m).__module__}.{type(m).__qualname__}" for name, m in model.named_modules()
    ]
    state = torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(), weights.text
    return (
        repr(where),
        repr(state),
        state_digest(model),
        repr(kinds),
        repr(model),
        function_state(method),
    )


def drawn(draw: Draw, whole: Samples) -> Samples:
    """The calibration samples of a split."""
    return draw.of(whole)


def calibration_samples(dataset: Dataset, options: Options) -> Samples:
    """What the static methods observe: of the calibration split, else of the training split.

    Raises:
        UnavailableError: the dataset has neither.
    """
    split: SplitName = "calibration" if "calibration" in dataset.splits else "train"
    if split not in dataset.splits:
        raise UnavailableError(
            f"dataset '{dataset.name}' has no samples to calibrate on: only "
            f"{', '.join(dataset.splits)}",
            hint="give it a split named calibration, or train",
        )
    draw = dataset.calibration
    size = min(draw.size, options.calibration or draw.size)
    return drawn(replace(draw, size=size), options.load(dataset, split))


def case_setup(dataset: Dataset, test: Samples, options: Options) -> CaseSetup:
    """The setup for cases of this dataset; calibration samples are loaded on demand."""
    silence_one_time_warnings()

    def calibration() -> Samples:
        return calibration_samples(dataset, options)

    return CaseSetup(dataset, options.folders, calibration, test.first(2).inputs)
