"""What a method says of itself, readable without importing the method.

Only the standard library may be imported here.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum


class Need(Enum):
    """What a method needs of the machine beside PyTorch."""

    TORCHAO = "torchao"
    COMPILER = "C++ compiler"


@dataclass(frozen=True)
class MethodInfo:
    """The facts of a method. Rules, reports and commands go by these, never by its name.

    Attributes:
        name: as in tables and file names.
        float_only: True: no quantized kernel runs, so that one engine says it all. False:
            something must come out quantized, whatever a baseline says. None: it does not say,
            as a user's plain function cannot, and neither is assumed.
        default: whether it is measured where nobody names methods.
        requires: what it needs beside PyTorch.
        engines: those it has kernels for; () for all.
        compiled: whether `torch.compile` finishes it.
        per_tensor: whether each weight tensor has one scale, not one for each channel.
        variant_of: the method that it is but for being `compiled` or `per_tensor`, "" if none.
        replaces: the deprecated method that it is a successor of, "" if none.
        control: the method whose accuracy it is fair to compare with.
        checkpoint: the kind of checkpoint it starts from.
        operators_by_cpu: whether its Python code, not PyTorch's kernels, chooses operators by
            the CPU's instructions.
    """

    name: str
    _: KW_ONLY
    float_only: bool | None = None
    default: bool = False
    requires: tuple[Need, ...] = ()
    engines: tuple[str, ...] = ()
    compiled: bool = False
    per_tensor: bool = False
    variant_of: str = ""
    replaces: str = ""
    control: str = "fp32"
    checkpoint: str = "fp32"
    operators_by_cpu: bool = False

    @property
    def quantizes(self) -> bool:
        """Whether it says that something comes out quantized."""
        return self.float_only is False
