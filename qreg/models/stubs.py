"""Quantization at the inputs and dequantization at the outputs of a model that has neither."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from functools import cache
from typing import Any

import torch
from torch import fx, nn
from torch.ao.quantization import DeQuantStub, QuantStub

_PARAMETERS = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


class Stubbed(nn.Module):
    """A user's model between stubs; its layers are named ``model.<name>``.

    It is put around the float model too, so that layers have the same names in every method.
    Its `forward` has the parameters of the model's own, a stub for each: tracers read them.

    Attributes:
        contiguous: whether the model is given images in contiguous order, not in channels_last.
        copies: whether the model is given copies, because it writes to its inputs.
        of_integers: the stubs of inputs that were ids or masks when the model was run. A tracer,
            which sees no tensors, then sees no stubs there either.
        absent: the stubs of inputs that were None, or not given: a tracer is given no proxy for
            them, which would take the branch of one that is there.
    """

    contiguous = False
    copies = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.of_integers: tuple[str, ...] = ()
        self.absent: tuple[str, ...] = ()
        for number, name in enumerate(_parameters(type(model))):
            self.add_module(_stub(number, name), QuantStub())
        self.model = model
        self.dequant = DeQuantStub()
        if hasattr(model, "fuse_model"):
            self.fuse_model = model.fuse_model

    def enter(self, stub: str, given: Any) -> Any:
        """Quantize an input, if it is a float tensor: not ids, masks, None."""
        if isinstance(given, fx.Proxy) and stub in self.absent:
            return None
        if given is None and stub not in self.absent:
            self.absent += (stub,)
        elif isinstance(given, torch.Tensor) and stub in self.absent:
            self.absent = tuple(one for one in self.absent if one != stub)
        if self.copies and isinstance(given, (torch.Tensor, fx.Proxy)):
            given = given.clone()
        if isinstance(given, torch.Tensor) and not given.is_floating_point():
            if stub not in self.of_integers and type(given) is torch.Tensor:
                self.of_integers += (stub,)
            return given
        first = isinstance(given, fx.Proxy) and stub == _FIRST and _FIRST not in self.of_integers
        if not isinstance(given, torch.Tensor) and not first:
            return given
        return getattr(self, stub)(given.contiguous() if self.contiguous else given)

    def leave(self, output: Any) -> Any:
        """Dequantize the tensors in an output."""
        if isinstance(output, dict):
            return {name: self.leave(each) for name, each in output.items()}
        if type(output) in (list, tuple):
            return type(output)(map(self.leave, output))
        if isinstance(output, tuple) and hasattr(output, "_fields"):
            return type(output)(*map(self.leave, output))
        if dataclasses.is_dataclass(output) and not isinstance(output, type):
            left = copy.copy(output)
            for field in dataclasses.fields(output):
                object.__setattr__(left, field.name, self.leave(getattr(output, field.name)))
            return left
        return self.dequant(output) if isinstance(output, (torch.Tensor, fx.Proxy)) else output


_FIRST = "quant"


def integer_inputs(model: nn.Module) -> frozenset[int]:
    """Which inputs, by their position, were ids or masks when the model was run."""
    if not isinstance(model, Stubbed):
        return frozenset()
    stubs = [name for name, module in model.named_children() if type(module) is QuantStub]
    return frozenset(map(stubs.index, model.of_integers))


def with_stubs(model: nn.Module) -> nn.Module:
    """The model itself if it has a QuantStub, else the model between stubs."""
    has_one = any(isinstance(module, QuantStub) for module in model.modules())
    return model if has_one else _class_for(type(model))(model)  # type: ignore[arg-type]


def _stub(number: int, name: str) -> str:
    return _FIRST if number == 0 else f"quant_{name}"


@cache
def _class_for(kind: type[nn.Module]) -> type[Stubbed]:
    """Stubs around models of this class, with the parameters of their `forward`."""
    parameters = _parameters(kind)
    own = {f"_default_{name}": p.default for name, p in parameters.items()}
    given, passed = [], []
    for number, (name, one) in enumerate(parameters.items()):
        if one.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in given:
            given.append("*")
        has_default = one.default is not inspect.Parameter.empty
        given.append(f"{name}=_default_{name}" if has_default else name)
        call = f"self.enter({_stub(number, name)!r}, {name})"
        passed.append(f"{name}={call}" if one.kind is inspect.Parameter.KEYWORD_ONLY else call)
    if not parameters and (rest := _rest(kind)):  # tracers cannot follow it next to others
        given.append(f"**{rest}")
        passed.append(f"**{rest}")
    code = (
        f"def forward(self, {', '.join(given)}):\n"
        f"    return self.leave(self.model({', '.join(passed)}))\n"
    )
    exec(compile(code, __file__, "exec"), own)
    return type("Stubbed", (Stubbed,), {"forward": own["forward"], "__module__": __name__})


def _parameters(kind: type[nn.Module]) -> dict[str, inspect.Parameter]:
    found = list(inspect.signature(kind.forward).parameters.values())[1:]
    named = {
        one.name: one
        for one in found
        # a flag is no input: left out it has its default, which tracers can follow
        if one.kind in _PARAMETERS and not isinstance(one.default, (bool, str))
    }
    if named or (_rest(kind) and not any(p.kind is p.VAR_POSITIONAL for p in found)):
        return named
    # a forward of *inputs alone: it is given one
    return {"inputs": inspect.Parameter("inputs", _PARAMETERS[1])}


def _rest(kind: type[nn.Module]) -> str:
    """The name of what takes any other named inputs; "" where nothing does."""
    found = inspect.signature(kind.forward).parameters.values()
    return next((one.name for one in found if one.kind is one.VAR_KEYWORD), "")


class _Given(nn.Module):
    """A model with stubs of its own that is given its images in another way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        if hasattr(model, "fuse_model"):
            self.fuse_model = model.fuse_model


class Contiguous(_Given):
    """A model with stubs of its own that is given images in contiguous order."""

    def forward(self, images: torch.Tensor) -> Any:
        return self.model(images.contiguous())


class Copied(_Given):
    """A model with stubs of its own that is given copies of the images, because it writes to them.

    For several inputs, let its own `forward` copy them.
    """

    def forward(self, images: torch.Tensor) -> Any:
        return self.model(images.clone())


def with_contiguous_inputs(model: nn.Module) -> nn.Module:
    """The model, given images in contiguous order."""
    if isinstance(model, Stubbed):
        model.contiguous = True
        return model
    return Contiguous(model)


def with_copied_inputs(model: nn.Module) -> nn.Module:
    """The model, given copies of its inputs."""
    if isinstance(model, Stubbed):
        model.copies = True
        return model
    return Copied(model)


def is_contiguous(model: nn.Module) -> bool:
    """Whether the model is given images in contiguous order."""
    return isinstance(model, Contiguous) or bool(getattr(model, "contiguous", False))
