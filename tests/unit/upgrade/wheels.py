"""Packages that hold nothing but a version, as wheels that the real pip installs."""

from __future__ import annotations

import zipfile
from pathlib import Path

from qreg.upgrade.releases import NEEDS


def make_wheels(folder: Path, version: str, *, says: str = "", raises: bool = False) -> Path:
    """A folder for pip's --find-links, with a torch of that version and all that goes with it.

    Args:
        says: what ``torch.__version__`` is instead.
        raises: it cannot be imported.
    """
    folder.mkdir()
    body = f"__version__ = '{says or version}'\n" + ("raise OSError('no such library')" * raises)
    make_wheel(folder, "torch", version, body)
    names = [need.partition(">")[0] for need in NEEDS if ";" not in need]
    for name in ("torchvision", *names):
        make_wheel(folder, name, "99.0", "")
    return folder


def make_wheel(folder: Path, name: str, version: str, body: str = "") -> None:
    """A wheel whose only module has this text."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}/__init__.py", body)
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        file.writestr(f"{info}/WHEEL", tags)
        file.writestr(f"{info}/RECORD", "")
