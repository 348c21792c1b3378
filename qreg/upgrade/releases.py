"""Package versions that match each PyTorch release."""

from __future__ import annotations

import re
from pathlib import PurePath

#: torch to torchvision and torchao versions tested together; pip resolves other releases itself.
_TESTED = {
    "2.6.0": ("0.21.0", "0.9.0"),
    "2.9.1": ("0.24.1", "0.14.1"),
    "2.14.1": ("0.29.1", "0.18.0"),
    "2.15.0": ("0.29.2", "0.18.0"),
}
#: qreg's dependencies other than PyTorch, as in pyproject.toml (kept equal by a test).
NEEDS = (
    "numpy>=1.26",
    "scipy>=1.11",
    "safetensors>=0.4.3",
    "rich>=13",
    "platformdirs>=4",
    "tomli>=2; python_version < '3.11'",
    "filelock>=3.13",
    "jinja2>=3.1",
    "packaging>=22",
)
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+\w+)?")


#: Packages whose versions may be sides, on top of this interpreter's other packages.
OVERLAYS = ("onnxruntime", "onnx", "torchao")
_OVERLAY = re.compile(rf"({'|'.join(OVERLAYS)})==({_VERSION.pattern})")


def overlay_packages(text: str) -> tuple[str, ...]:
    """The requirements of a side such as ``onnxruntime==1.20.1``; () for another side."""
    parts = tuple(part.strip() for part in text.split(","))
    return parts if all(map(_OVERLAY.fullmatch, parts)) else ()


def is_version(text: str) -> bool:
    """Whether a side is a version, such as ``2.14.1``, rather than an interpreter."""
    return _VERSION.fullmatch(text) is not None


def requirements(version: str) -> tuple[str, ...]:
    """The requirements that pip installs for a PyTorch version."""
    vision = _TESTED.get(version, ("", ""))[0]
    return (f"torch=={version}", f"torchvision=={vision}" if vision else "torchvision", *NEEDS)


def optional_requirements(version: str) -> tuple[str, ...]:
    """Requirements that are installed if possible: torchao, where a version is known to work."""
    torchao = _TESTED.get(version, ("", ""))[1]
    return (f"torchao=={torchao}",) if torchao else ()


def short_side(text: str) -> str:
    """A side in few letters: of an interpreter, the folder of its environment."""
    if overlay_packages(text) or "/" not in text:
        return text
    parts = PurePath(text).parts
    named = [one for one in parts if one not in ("bin", "/") and not one.startswith("python")]
    return named[-1] if named else text
