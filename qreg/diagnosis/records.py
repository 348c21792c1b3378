"""An exception as facts, and what it means.

Only the standard library may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Raised:
    """What can be read from an exception and its traceback.

    Attributes:
        kind: the class of the exception and its bases, names only.
        message: its text.
        layer: path of the innermost module that ran, "" for the model itself.
        layer_kind: that module's class where the line is a call of it, ``SiLU``; else "".
        source: file and line of the innermost code of the model's author, "" if there is none.
        code: that line, or the expression of it that was evaluated.
        tracer: "fx" or "export" if the model was being traced, else "".
    """

    kind: tuple[str, ...]
    message: str
    layer: str = ""
    layer_kind: str = ""
    source: str = ""
    code: str = ""
    tracer: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Where something failed and why, a line each, and what to do.

    Attributes:
        where: module path and source line, ``layer1.0 (nets.py:12)``; "" where neither is known.
        operator: ``+``, ``silu``, ``aten::roll``; "" where no operator is to blame.
    """

    where: str
    operator: str
    reason: str
    advice: str

    def __post_init__(self) -> None:
        if any("\n" in text for text in (self.where, self.operator, self.reason, self.advice)):
            raise ValueError(f"a diagnosis is of single lines: {self}")
