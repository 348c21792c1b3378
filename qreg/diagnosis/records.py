"""Facts about an exception, and its diagnosis.

Only the standard library may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Tracer(Enum):
    """What follows a model's code to make a graph of it."""

    FX = "torch.fx"
    EXPORT = "torch.export"


@dataclass(frozen=True)
class Raised:
    """Facts from an exception and its traceback.

    Attributes:
        kind: the class of the exception and its bases, names only.
        message: its text.
        layer: path of the innermost module that ran, "" for the model itself.
        layer_kind: that module's class where the line is a call of it, ``SiLU``; else "".
        source: file and line of the innermost code of the model's author, "" if there is none.
        code: that line, or the expression of it that was evaluated.
        read: the weight or bias that the author's code holds in place of a tensor: ``the bias of
            attn.qkv``; "" if it holds none.
        tracer: what was tracing the model; None where nothing was.
    """

    kind: tuple[str, ...]
    message: str
    layer: str = ""
    layer_kind: str = ""
    source: str = ""
    code: str = ""
    read: str = ""
    tracer: Tracer | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Where something failed, why, and what to do, one line each.

    Attributes:
        where: module path and source line, ``layer1.0 (nets.py:12)``; "" where neither is known.
        operator: ``+``, ``silu``, ``aten::roll``; "" where no operator is the cause.
        remedy: what to change in the model, "" where nothing is known.
        instead: methods that do not need it.
    """

    where: str
    operator: str
    reason: str
    remedy: str = ""
    instead: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any("\n" in text for text in (self.where, self.operator, self.reason, self.remedy)):
            raise ValueError(f"a diagnosis is of single lines: {self}")

    @property
    def advice(self) -> str:
        """What to do, in one line."""
        return advice(self.remedy, self.instead)


def advice(remedy: str, instead: tuple[str, ...], *, known: bool = False) -> str:
    """What to do: change the model, or use another method.

    Args:
        known: whether those methods are known to work for the model; else it says how to find out.
    """
    methods = " or ".join([", ".join(instead[:-1]), instead[-1]] if instead[1:] else instead)
    verb = "works" if len(instead) == 1 else "work"
    use = f"use {methods}, which {verb} for this model"
    if not known:
        use = f"try {methods} (`qreg check` says which {verb})"
    return "; or ".join(filter(None, (remedy, use if instead else "")))
