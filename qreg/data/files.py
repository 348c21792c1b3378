"""Reading datasets from files: npz archives and folders of images, verified, never unpickled."""

from __future__ import annotations

import hashlib
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from qreg.errors import CorruptFileError, DataError

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    EOFError,
    OSError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    SyntaxError,
    OverflowError,
)
#: Shape and dtype of each array.
Headers = dict[str, tuple[tuple[int, ...], "np.dtype[Any]"]]
_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stat_key(*paths: Path, also: str = "") -> str:
    """A short key that changes when one of the files is replaced or written to, or `also` does.

    The time of a change, which no program can set, is in it: a file that was rewritten with the
    same size and time of modification is another one.
    """
    stats = [_stat(path) for path in paths]
    return hashlib.sha256(repr((stats, also)).encode()).hexdigest()[:16]


def _stat(path: Path) -> tuple[str, int, int, int, int]:
    found = path.stat()
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return (str(path.resolve()), found.st_size, found.st_ino, *times)


def read_npz(
    path: Path, names: tuple[str, ...], *, sha256: str | None = None
) -> Mapping[str, npt.NDArray[Any]]:
    """Read arrays of an npz archive; names that are not in it are left out.

    The archive is checked against `sha256`, else against the ``FILE.sha256`` next to it where
    there is one, else against the checksums inside it.

    Raises:
        CorruptFileError: it is truncated or altered.
    """
    found = _check_sha256(path, sha256 or _recorded_sha256(path))
    try:
        with zipfile.ZipFile(path) as archive:
            headers = _headers(path, archive)
            return {name: _array(path, archive, name, headers) for name in names if name in headers}
    except _DAMAGE as error:
        raise _unreadable(path, found, error) from error


def array_headers(path: Path) -> Headers:
    """Shape and dtype of every array of an npz archive; nothing is unpacked.

    Raises:
        CorruptFileError: it is none, or sizes in it contradict each other.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _headers(path, archive)
    except _DAMAGE as error:
        raise _unreadable(path, file_sha256(path), error) from error


def extract_arrays(path: Path, targets: Mapping[str, Path]) -> None:
    """Write arrays of an npz archive to .npy files, block by block.

    Raises:
        CorruptFileError: it is damaged, or not what the ``FILE.sha256`` next to it says.
    """
    _check_sha256(path, _recorded_sha256(path))
    with zipfile.ZipFile(path) as archive:
        for name, target in targets.items():
            with target.open("wb") as file:
                _copy(path, archive, name, file)


def _copy(path: Path, archive: zipfile.ZipFile, name: str, file: BinaryIO) -> None:
    try:
        source = archive.open(f"{name}.npy")
    except _DAMAGE as error:
        raise _unreadable(path, file_sha256(path), error) from error
    with source:
        while True:
            try:
                block = source.read(_BLOCK)
            except _DAMAGE as error:
                raise _unreadable(path, file_sha256(path), error) from error
            if not block:
                return
            file.write(block)


def _headers(path: Path, archive: zipfile.ZipFile) -> Headers:
    members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
    return {member.filename[: -len(".npy")]: _header(archive, member) for member in members}


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    """Shape and dtype, which must be of as many bytes as the archive says.

    Raises:
        ValueError: they are not, or the array is of Python objects.
    """
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read: Any = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"{member.filename}: npy version {version}")
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds pickled objects")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or file.tell() + size != member.file_size:
            raise ValueError(f"{member.filename}: {shape} of {dtype} in {member.file_size} bytes")
    return shape, dtype


def _array(path: Path, archive: zipfile.ZipFile, name: str, headers: Headers) -> Any:
    size = math.prod(headers[name][0]) * headers[name][1].itemsize
    if size > (available := _memory()):
        raise DataError(
            f"{path}: {name} unpacks to {size >> 20} MB, and {available >> 20} MB are free",
            hint="use a machine with more memory, or a folder of images",
        )
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _memory() -> int:
    """Bytes of memory that may still be taken, as far as the system says."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 1 << 62


def _unreadable(path: Path, found: str, error: BaseException) -> CorruptFileError:
    return CorruptFileError(
        path,
        expected="a readable npz archive without pickled objects",
        found=f"sha256 {found} ({error})",
        hint=_hint(path),
    )


def _check_sha256(path: Path, expected: str | None) -> str:
    found = file_sha256(path)
    if expected is not None and found != expected:
        raise CorruptFileError(
            path, expected=f"sha256 {expected}", found=f"sha256 {found}", hint=_hint(path)
        )
    return found


def _hint(path: Path) -> str:
    return (
        "the file is left unchanged: get it again; if it is meant to differ, "
        f"record that with: sha256sum {path.name} > {path.name}.sha256"
    )


def _recorded_sha256(path: Path) -> str | None:
    recorded = path.with_name(path.name + ".sha256")
    if not recorded.exists():
        return None
    words = recorded.read_text(encoding="utf-8", errors="replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise CorruptFileError(
            recorded, expected="a sha256", found=repr(words[:1]), hint=f"sha256sum {path.name} > it"
        )
    return words[0].lower()


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as it is shown, from its header.

    Raises:
        DataError: it is no image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
            width, height = image.size
    except _NO_IMAGE as error:
        raise DataError(f"{path}: {error}", hint="remove the file, or replace it") from error
    return (height, width) if turned else (width, height)


_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
_NO_IMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, struct.error)
#: Conversions of images that are not RGB, or rotated; they are reported.
_MODES = {
    "L": "",
    "1": "",
    "P": "",
    "RGB": "",
    "RGBA": "images: alpha channel dropped",
    "LA": "images: alpha channel dropped",
    "PA": "images: alpha channel dropped",
    "CMYK": "images: CMYK converted to RGB",
    "YCbCr": "",
    "LAB": "images: LAB converted to RGB",
    "HSV": "images: HSV converted to RGB",
}


def read_image(path: Path) -> tuple[npt.NDArray[np.uint8], str]:
    """Decode an image file to uint8 (H, W, 3), turned as its EXIF orientation says.

    Returns:
        tuple: the pixels, and what was done to an image that is not plain RGB or grey, "" of
        one that is: "images: 16-bit grey scaled to 8 bits".

    Raises:
        DataError: it cannot be decoded, or its mode has no meaning as RGB.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
            upright = ImageOps.exif_transpose(image) if turned else image
            pixels, note = _rgb(path, upright)
    except _NO_IMAGE as error:
        raise DataError(f"{path}: {error}", hint="remove the file, or replace it") from error
    return pixels, note or ("images: turned by their EXIF orientation" if turned else "")


def _rgb(path: Path, image: Any) -> tuple[npt.NDArray[np.uint8], str]:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion cuts it off at 255
        grey = np.asarray(image)
        if grey.size and not (int(grey.min()) >= 0 and int(grey.max()) <= 0xFFFF):
            raise DataError(
                f"{path}: whole numbers from {grey.min()} to {grey.max()}",
                hint="convert it to 8 or 16 bits",
            )
        scaled = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(scaled[..., None], 3, axis=2), "images: 16-bit grey scaled to 8 bits"
    if image.mode not in _MODES:
        raise DataError(f"{path}: an image of mode {image.mode}", hint="convert it to RGB")
    note = _MODES[image.mode]
    if note.endswith("dropped") and image.getchannel("A").getextrema() == (255, 255):
        note = ""
    if image.mode == "P" and "transparency" in image.info:
        note = _MODES["PA"]
    return np.asarray(image.convert("RGB"), dtype=np.uint8), note
