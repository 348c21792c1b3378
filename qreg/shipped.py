"""What comes with qreg itself."""

from __future__ import annotations

from pathlib import Path


def shipped_folder() -> Path:
    """This installation's own baselines: beside a source checkout, else in the package."""
    package = Path(__file__).resolve().parent
    beside = package.parent / "baselines"
    return beside if beside.is_dir() else package / "_baselines"
