"""Settings in which a clean process may differ from the one that recorded its baseline."""

from __future__ import annotations

from dataclasses import dataclass

from qreg.records.case import Case

_AVX2 = ("FBGEMM_ENABLE_INSTRUCTIONS=AVX2", "ONEDNN_MAX_CPU_ISA=AVX2")
_NO_VNNI = ("ONEDNN_MAX_CPU_ISA=AVX512_CORE",)


@dataclass(frozen=True)
class Setting:
    """A way to start a clean process.

    Attributes:
        threads: of PyTorch's kernels; 0 for the number of the first process.
        limits: ``NAME=value`` environment variables that emulate another CPU.
    """

    name: str
    threads: int = 0
    limits: tuple[str, ...] = ()


#: The first is the setting of the process that records the baselines.
SETTINGS = (
    Setting("fresh process"),
    Setting("1 thread", threads=1),
    Setting("2 threads", threads=2),
    Setting("4 threads", threads=4),
    Setting("fbgemm and oneDNN AVX2", limits=_AVX2),
    Setting("oneDNN AVX-512, no VNNI", limits=_NO_VNNI),
    Setting("ATen AVX2", limits=("ATEN_CPU_CAPABILITY=avx2",)),
    Setting("ATen without vectors", limits=("ATEN_CPU_CAPABILITY=default",)),
)


def true_loss(case: Case, setting: Setting) -> str:
    """Why a clean case truly loses accuracy in a setting; "" where it does not.

    onednn's default activations use all 8 bits: without VNNI their products saturate, as
    `qreg audit saturation` shows. Reporting this is correct, not a false alarm.
    """
    without_vnni = "ONEDNN_MAX_CPU_ISA" in " ".join(setting.limits)
    if without_vnni and case.engine == "onednn" and case.method in ("static", "static-per-tensor"):
        return "onednn's activations use 8 bits: products saturate without VNNI"
    return ""
