"""What a fault is, and the ways into a quantization by which one is injected.

A fault changes what is quantized, how, or what the result computes. The gate, the metrics and
the comparison stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from unittest.mock import patch

from torch import nn

from qreg.data import Dataset, get_dataset
from qreg.data.inputs import Inputs
from qreg.measure.options import Options
from qreg.quantization import Context, Method, get_method
from qreg.records.case import Case

STATIC = ("static", "static-per-tensor")
QAT = ("qat", "qat-per-tensor")
DYNAMIC = ("dynamic",)
#: Methods whose activations have stored quantization parameters.
ACTIVATIONS = (*STATIC, *QAT)
QUANTIZED = (*ACTIVATIONS, *DYNAMIC)


@dataclass(frozen=True)
class Target:
    """The case a fault is injected into."""

    case: Case
    options: Options


Injection = Callable[[Target], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """One fault of one size.

    Attributes:
        name: family and size, as ``--faults`` takes it.
        family: what it has in common with the same fault in other sizes.
        description: in words, with the place.
        inject: enters the fault; leaving it puts everything back.
        size: how large it is, "" where it has no size.
        methods: those it can be injected into.
        needs: classes of modules that the float model must have, all of them.
        engines: those it can be injected into, all where empty.
        limits: ``NAME=value`` of the process's environment, for the clean run as well.
        unchanged_because: why it may change nothing at all, "" where it must change something.
        shows_in_time: it changes no number, and must be found all the same.
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
    shows_in_time: bool = False

    def applies(self, case: Case, modules: frozenset[str]) -> bool:
        """Whether it can be injected into a case whose float model has modules of these classes."""
        engine = not self.engines or case.engine in self.engines
        return engine and case.method in self.methods and modules.issuperset(self.needs)


def changed_method(change: Callable[[Method, Target], Method]) -> Injection:
    """The case is made by another method under the same name; fp32, its reference, is not."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        def found(name: str) -> Method:
            method = get_method(name)
            return change(method, target) if name == target.case.method else method

        with patch("qreg.measure.subject.get_method", found):
            yield

    return inject


def after(change: Callable[[nn.Module], None]) -> Injection:
    """`change` is applied to the quantized model."""

    def changed(method: Method, target: Target) -> Method:
        def quantize(model: nn.Module, context: Context) -> nn.Module:
            quantized = method.quantize(model, context)
            change(quantized)
            return quantized

        return replace(method, quantize=quantize)

    return changed_method(changed)


def before(change: Callable[[nn.Module], None]) -> Injection:
    """`change` is applied to the float model that is quantized, its checkpoint loaded."""

    def changed(method: Method, target: Target) -> Method:
        def quantize(model: nn.Module, context: Context) -> nn.Module:
            change(model)
            return method.quantize(model, context)

        return replace(method, quantize=quantize)

    return changed_method(changed)


Feed = Callable[[Iterator[Inputs], Target], Iterator[Inputs]]


def calibrated_on(feed: Feed) -> Injection:
    """The ranges are observed on what `feed` makes of the calibration batches."""

    def changed(method: Method, target: Target) -> Method:
        def quantize(model: nn.Module, context: Context) -> nn.Module:
            fed = replace(context, calibration=lambda: feed(context.calibration(), target))
            return method.quantize(model, fed)

        return replace(method, quantize=quantize)

    return changed_method(changed)


def patched(*targets: tuple[str, object]) -> Injection:
    """Names ``package.module.name`` stand for other objects."""

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
    """Everything is made from another dataset under the same name."""
    return patched(("qreg.measure.options.get_dataset", lambda name: change(get_dataset(name))))
