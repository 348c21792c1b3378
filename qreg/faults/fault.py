"""Faults, and the ways in which one is injected into a quantization.

A fault changes what is quantized, how, or what the result computes. The gate, the metrics and the
comparison are unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from torch import nn

from qreg.artifacts.names import is_file_name
from qreg.data import Dataset, get_dataset
from qreg.data.inputs import Inputs
from qreg.errors import MissingCheckpointError
from qreg.measure.options import Options
from qreg.quantization import Context, Method, get_method
from qreg.records.case import Case
from qreg.records.method import CheckpointKind
from qreg.training.checkpoints import find_checkpoint

STATIC = ("static", "static-per-tensor")
QAT = ("qat", "qat-per-tensor")
#: Methods that train graphs: their fake-quantizers are exercised as eager QAT's are.
GRAPH_QAT = ("fx-qat", "pt2e-qat")
DYNAMIC = ("dynamic",)
#: Methods whose activations have stored quantization parameters.
ACTIVATIONS = (*STATIC, *QAT)
QUANTIZED = (*ACTIVATIONS, *DYNAMIC)
#: Methods that convert to the modules of eager static quantization: its faults fit them, but for
#: those of eager mode's own functions.
LIKE_STATIC = ("static-auto", "fx-static")


#: Why a fault was not injected, though it could not be known before.
NO_PLACE = "the quantized model has no layer that this fault changes"
NO_CHECKPOINT = "the model has no second checkpoint of float weights"
#: The same in short.
NOT_INJECTED = {NO_PLACE: "no such layer", NO_CHECKPOINT: "no second checkpoint"}


@dataclass(frozen=True)
class Target:
    """The case into which a fault is injected."""

    case: Case
    options: Options


Injection = Callable[[Target], AbstractContextManager[None]]


def second_checkpoint(target: Target) -> Path:
    """The file of the model's fine-tuned float weights.

    Raises:
        RuntimeError: `NO_CHECKPOINT`.
    """
    case, folders = target.case, target.options.folders
    try:
        return find_checkpoint(folders, case.model, case.dataset, CheckpointKind.FINETUNED)
    except MissingCheckpointError as error:
        raise RuntimeError(NO_CHECKPOINT) from error


@dataclass(frozen=True)
class Fault:
    """One fault of one size.

    Attributes:
        name: family and size, as given to ``--faults``.
        family: shared by the same fault in different sizes.
        description: what is changed, and where.
        inject: a context manager: enters the fault, and undoes it on exit.
        size: its size, "" where it has none.
        methods: those into which it can be injected.
        needs: classes of modules that the float model must all have.
        engines: those into which it can be injected; empty for all.
        limits: ``NAME=value`` environment variables of the process, also for the clean run.
        unchanged_because: why it may change nothing, "" where it must change something.
        images: whether the dataset must be of images: what it does has no meaning for other data.
        of_onnx_files: it can also be injected into a delivered ONNX file.
        shows_in_time: it changes no output, only the speed, and must be detected all the same.
        eager: it changes functions that only eager mode calls.
    """

    name: str
    family: str
    description: str
    inject: Injection
    size: str = ""
    methods: tuple[str, ...] = QUANTIZED
    needs: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    unchanged_because: str = ""
    images: bool = False
    shows_in_time: bool = False
    of_onnx_files: bool = False
    eager: bool = False

    def applies(self, case: Case, modules: frozenset[str], *, images: bool = True) -> bool:
        """Whether it fits a case whose float model has modules of these classes.

        Args:
            images: whether the dataset is of images.
        """
        engine = not self.engines or case.engine in self.engines
        is_file = self.of_onnx_files and is_file_name(case.method)
        like_static = case.method in LIKE_STATIC and "static" in self.methods and not self.eager
        method = case.method in self.methods or is_file or like_static
        fits = engine and method and modules.issuperset(self.needs)
        return fits and (images or not self.images)


def changed_method(change: Callable[[Method, Target], Method]) -> Injection:
    """Replace the case's method by a changed one of the same name; fp32 is unaffected."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        def found(name: str) -> Method:
            method = get_method(name)
            return change(method, target) if name == target.case.method else method

        with patch("qreg.measure.subject.get_method", found):
            yield

    return inject


def after(change: Callable[[nn.Module], None]) -> Injection:
    """Apply `change` to the quantized model."""

    def changed(method: Method, target: Target) -> Method:
        def quantize(model: nn.Module, context: Context) -> nn.Module:
            quantized = method.quantize(model, context)
            try:
                change(quantized)
            except (StopIteration, IndexError) as error:  # of looking for it
                raise RuntimeError(NO_PLACE) from error
            return quantized

        return replace(method, quantize=quantize)

    return changed_method(changed)


def before(change: Callable[[nn.Module], None]) -> Injection:
    """Apply `change` to the float model before it is quantized, after loading its checkpoint."""

    def changed(method: Method, target: Target) -> Method:
        def quantize(model: nn.Module, context: Context) -> nn.Module:
            change(model)
            return method.quantize(model, context)

        return replace(method, quantize=quantize)

    return changed_method(changed)


Feed = Callable[[Iterator[Inputs], Target], Iterator[Inputs]]


def calibrated_on(feed: Feed) -> Injection:
    """Calibrate on what `feed` yields for the calibration batches."""

    def changed(method: Method, target: Target) -> Method:
        def quantize(model: nn.Module, context: Context) -> nn.Module:
            fed = replace(context, calibration=lambda: feed(context.calibration(), target))
            return method.quantize(model, fed)

        return replace(method, quantize=quantize)

    return changed_method(changed)


def patched(*targets: tuple[str, object]) -> Injection:
    """Patch names ``package.module.name`` with other objects."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        patches = [patch(name, new) for name, new in targets]
        for each in patches:
            each.start()
        try:
            yield
        finally:
            for each in reversed(patches):
                each.stop()

    return inject


def changed_dataset(change: Callable[[Dataset], Dataset]) -> Injection:
    """Replace the dataset by a changed one of the same name, for fp32 too."""
    return patched(("qreg.measure.options.get_dataset", lambda name: change(get_dataset(name))))
