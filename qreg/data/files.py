"""Reading datasets from files: npz archives and folders of images, verified, never unpickled."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qreg.errors import CorruptFileError, DataError

_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError)


def file_sha256(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stat_key(*paths: Path) -> str:
    """A short key that changes when one of the files is replaced or written to."""
    stats = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]


def read_npz(
    path: Path, names: tuple[str, ...], *, sha256: str | None = None
) -> Mapping[str, npt.NDArray[Any]]:
    """Read arrays of an npz archive; names that are not in it are left out.

    The archive is checked against `sha256`, else against the ``FILE.sha256`` beside it where
    there is one, else against the checksums inside it.

    Raises:
        CorruptFileError: it is truncated or altered.
    """
    expected = sha256 or _recorded_sha256(path)
    found = file_sha256(path)
    if expected is not None and found != expected:
        raise CorruptFileError(
            path, expected=f"sha256 {expected}", found=f"sha256 {found}", hint=_hint(path)
        )
    try:
        # numpy leaves a file it opened itself open when it is no archive
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive}
    except _DAMAGE as error:
        raise CorruptFileError(
            path,
            expected="a readable npz archive without pickled objects",
            found=f"sha256 {found} ({error})",
            hint=_hint(path),
        ) from error


def _hint(path: Path) -> str:
    return (
        "the file is left as it is: get it anew; where it is meant to differ, "
        f"record that with: sha256sum {path.name} > {path.name}.sha256"
    )


def _recorded_sha256(path: Path) -> str | None:
    beside = path.with_name(path.name + ".sha256")
    return beside.read_text().split()[0].lower() if beside.exists() else None


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode an image file to uint8 (H, W, 3).

    Raises:
        DataError: it cannot be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path}: {error}", hint="remove the file, or replace it") from error
