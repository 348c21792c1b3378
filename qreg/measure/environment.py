"""The fingerprint of what can change numbers."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from pathlib import Path

import torch

from qreg.artifacts.names import ONNXRUNTIME
from qreg.records.case import Environment

#: They keep kernels off instructions that the CPU has, or off exactness, and so change results.
LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "FBGEMM_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
)
_CPUINFO = Path("/proc/cpuinfo")


def capture_environment(engine: str = "") -> Environment:
    """What this process runs on.

    Args:
        engine: that of a case; onnxruntime belongs to the environment of what it runs.
    """
    return Environment(
        **(_onnxruntime() if engine == ONNXRUNTIME else {}),
        torch=torch.__version__,
        torchvision=_version("torchvision"),
        torchao=_version("torchao"),
        python=platform.python_version(),
        numpy=_version("numpy"),
        system=platform.system(),
        arch=platform.machine(),
        cpu=_cpuinfo("model name") or platform.processor(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        vnni="vnni" in _cpuinfo("flags"),
        threads=torch.get_num_threads(),
        limits=tuple(f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ),
    )


def _onnxruntime() -> dict[str, str]:
    from qreg.artifacts.onnx_file import PROVIDER, graph_level

    version = _version("onnxruntime")
    return {"onnxruntime": version, "provider": PROVIDER, "graph_level": graph_level()}


# installed packages and the CPU are looked up once a process: the gate asks in every case
@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def _cpuinfo(key: str) -> str:
    """The first value of a key of Linux's cpuinfo, "" elsewhere."""
    if not _CPUINFO.exists():
        return ""
    for line in _CPUINFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
