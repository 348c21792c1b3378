"""Decoded images, kept so that a second run maps them instead of decoding them again.

An entry is a folder of three .npy files and the fingerprint of their content; it is built
under a temporary name and renamed when whole, checked when read, and built anew when it is
not what was written.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

from qreg.data.images import ImageSamples

_FORMAT = 1  # 1: images.npy, labels.npy, index.npy, meta.json {"fingerprint"}
_ARRAYS = ("images", "labels", "index")
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def cache_root() -> Path:
    """The folder for what qreg may lose: ``QREG_CACHE_DIR``, else the platform's cache folder."""
    chosen = os.environ.get("QREG_CACHE_DIR")
    return Path(chosen) if chosen else platformdirs.user_cache_path("qreg", appauthor=False)


def cached_split(key: str, build: Callable[[], ImageSamples]) -> ImageSamples:
    """The split stored under `key`, mapped read-only; `build` makes it where it is not there.

    A folder that cannot be written (read-only home, full disk) costs only the time saved.
    """
    folder = cache_root() / "decoded" / f"{key}-v{_FORMAT}"
    found = _read(folder)
    if found is not None:
        return found
    split = build()
    with contextlib.suppress(OSError):
        _write(folder, split)
        return _read(folder) or split
    return split


def _read(folder: Path) -> ImageSamples | None:
    if not folder.exists():
        return None
    try:
        arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in _ARRAYS}
        split = ImageSamples(**arrays)
        recorded = json.loads((folder / "meta.json").read_text())["fingerprint"]
    except _DAMAGE:
        return None
    return split if split.fingerprint() == recorded else None


def _write(folder: Path, split: ImageSamples) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f"{folder.name}.half-", dir=folder.parent))
    try:
        for name in _ARRAYS:
            np.save(half / f"{name}.npy", getattr(split, name))
        (half / "meta.json").write_text(json.dumps({"fingerprint": split.fingerprint()}))
        _put_in_place(half, folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _put_in_place(half: Path, folder: Path) -> None:
    # A folder cannot be renamed over one with content: a damaged entry is moved aside first.
    # Where another writer was faster its entry stands, which holds the same.
    if folder.exists():
        aside = tempfile.mkdtemp(prefix=f"{folder.name}.bad-", dir=folder.parent)
        with contextlib.suppress(OSError):
            os.rename(folder, Path(aside) / "entry")
        shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(FileExistsError, OSError):
        os.rename(half, folder)
