"""Facts about a method, readable without importing the method.

Only the standard library may be imported here.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum


class Need(Enum):
    """What a method needs of the machine in addition to PyTorch."""

    TORCHAO = "torchao"
    COMPILER = "C++ compiler"
    ONNXRUNTIME = "onnxruntime"


class Form(Enum):
    """How layers that are not quantized store their weights and compute."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class CheckpointKind(str, Enum):
    """What a checkpoint was trained as; equal to the string that users' methods and files say."""

    FP32 = "fp32"
    FINETUNED = "fp32-finetuned"
    QAT = "qat"
    QAT_PER_TENSOR = "qat-per-tensor"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class MethodInfo:
    """The facts of a method. Rules, reports and commands use these, never its name.

    Attributes:
        name: as in tables and file names.
        float_only: True: no quantized kernel runs, so that one engine represents all. False: the
            result must be quantized, whatever a baseline contains. None: unknown, as for a user's
            plain function; neither is assumed.
        default: whether it is measured by default.
        requires: what it needs in addition to PyTorch.
        engines: those it has kernels for; () for all.
        compiled: whether it uses `torch.compile`.
        exported: whether its models are exported graphs, whose layers are operators, no modules.
        per_tensor: whether each weight tensor has one scale, not one for each channel.
        variant_of: the method of which it is the `compiled` or `per_tensor` variant, "" if none.
        replaces: the deprecated method of which it is a successor, "" if none.
        control: the method to which its accuracy is compared fairly.
        checkpoint: the kind of checkpoint it starts from.
        takes_file: whether the float model may be a file, which has no modules to quantize.
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
    exported: bool = False
    per_tensor: bool = False
    variant_of: str = ""
    replaces: str = ""
    control: str = "fp32"
    checkpoint: CheckpointKind = CheckpointKind.FP32
    operators_by_cpu: bool = False
    takes_file: bool = False

    def __post_init__(self) -> None:
        try:
            kind = CheckpointKind(self.checkpoint)
        except ValueError as error:
            kinds = ", ".join(CheckpointKind)
            raise ValueError(
                f"method '{self.name}' starts from '{self.checkpoint}', not from one of {kinds}"
            ) from error
        object.__setattr__(self, "checkpoint", kind)

    @property
    def quantizes(self) -> bool:
        """Whether its result must be quantized."""
        return self.float_only is False
