"""Reading datasets from files: npz archives and folders of images, verified, never unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qreg.errors import CorruptFileError, DataError, QregError
from qreg.files import open_regular, read_regular, resolved

#: Shape and dtype of each array.
Headers = dict[str, tuple[tuple[int, ...], "np.dtype[Any]"]]
_BLOCK = 1 << 20
# What unpacks to more than this, and to more than so many times its size, is a mistake or a trap:
# images and tokens pack to a tenth, and nothing packs to a thousandth but one repeated value.
_LARGE, _MOST_PACKED = 1 << 29, 100


def file_sha256(path: Path) -> str:
    """sha256 of a regular file's content.

    Raises:
        OSError: it is none, or cannot be read.
    """
    with open_regular(path) as file:
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
    return (str(resolved(path)), found.st_size, found.st_ino, *times)


def read_npz(
    path: Path, names: tuple[str, ...], *, sha256: str | None = None
) -> Mapping[str, npt.NDArray[Any]]:
    """Read arrays of an npz archive; names that are not in it are left out.

    The archive is checked against `sha256`, else against the ``FILE.sha256`` next to it where
    there is one, else against the checksums inside it.

    Raises:
        CorruptFileError: it is truncated or altered.
    """
    array_headers(path)  # whether it is an archive at all, before all of it is read
    found = _check_sha256(path, sha256 or _recorded_sha256(path))
    with _archive(path, found) as archive:
        headers = _headers(path, archive)
        return {name: _array(path, archive, name, headers) for name in names if name in headers}


def array_headers(path: Path) -> Headers:
    """Shape and dtype of every array of an npz archive; nothing is unpacked.

    Raises:
        CorruptFileError: it is none, or sizes in it contradict each other.
    """
    with _archive(path) as archive:
        return _headers(path, archive)


def extract_arrays(path: Path, targets: Mapping[str, Path]) -> None:
    """Write arrays of an npz archive to .npy files, block by block.

    Raises:
        CorruptFileError: it is damaged, or not what the ``FILE.sha256`` next to it says.
        OSError: they cannot be written.
    """
    found = _check_sha256(path, _recorded_sha256(path))
    for name, target in targets.items():
        with target.open("wb") as file:
            for block in _blocks(path, name, found):
                file.write(block)


def unpacked_size(path: Path) -> int:
    """Bytes of all members of an archive.

    Raises:
        CorruptFileError: it is none.
    """
    with _archive(path) as archive:
        return sum(member.file_size for member in archive.infolist())


@contextlib.contextmanager
def _archive(path: Path, digest: str = "") -> Iterator[zipfile.ZipFile]:
    """An opened archive; whatever its readers raise of its content is one error."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except QregError:
        raise
    except Exception as error:  # a damaged archive makes its readers fail in every way there is
        raise _unreadable(path, digest, error) from error


def _blocks(path: Path, name: str, digest: str) -> Iterator[bytes]:
    with _archive(path, digest) as archive, archive.open(f"{name}.npy") as source:
        while block := source.read(_BLOCK):
            yield block


def _headers(path: Path, archive: zipfile.ZipFile) -> Headers:
    members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
    size, packed = sum(member.file_size for member in members), path.stat().st_size
    if size > _LARGE and size > _MOST_PACKED * packed:
        raise DataError(
            f"{path}: {packed >> 20} MB unpack to {size >> 20} MB",
            hint="if that is what is meant, store it unpacked: numpy.savez",
        )
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


def _unreadable(path: Path, digest: str, error: BaseException) -> CorruptFileError:
    text = (str(error) or type(error).__name__).partition("\n")[0][:200]
    if isinstance(error, OSError) and not digest:
        found = error.strerror or text
    else:
        found = f"sha256 {digest} ({text})" if digest else text
    return CorruptFileError(
        path,
        expected="a readable npz archive without pickled objects",
        found=found,
        hint=_hint(path),
    )


def _check_sha256(path: Path, expected: str | None) -> str:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise _unreadable(path, "", error) from error
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
    try:
        words = read_regular(recorded, most=_BLOCK).decode(errors="replace").split()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CorruptFileError(
            recorded,
            expected="a sha256",
            found=error.strerror or str(error),
            hint=f"sha256sum {path.name} > it",
        ) from error
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise CorruptFileError(
            recorded,
            expected="a sha256",
            found=repr(words[:1])[:80],
            hint=f"sha256sum {path.name} > it",
        )
    return words[0].lower()


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as it is shown, from its header.

    Raises:
        DataError: it is no image.
    """
    with _image(path) as image:
        turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
        width, height = image.size
    return (height, width) if turned else (width, height)


@contextlib.contextmanager
def _image(path: Path) -> Iterator[Any]:
    """An opened image, of a format that runs no program, and of a size that can be decoded."""
    from PIL import Image

    try:
        with open_regular(path) as file, Image.open(file, formats=_FORMATS) as image:
            if math.prod(image.size) > _MOST_PIXELS:
                raise ValueError(f"{image.size[0]} x {image.size[1]} pixels")
            yield image
    except DataError:
        raise
    except Exception as error:  # a damaged image makes its decoder fail in every way there is
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        hint = "remove the file, or replace it"
        raise DataError(f"{path}: {text.partition(chr(10))[0]}", hint=hint) from error


_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
# Those of the endings that are looked for; EPS, for one, is decoded by running a program.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "PPM", "TIFF")
# What Pillow warns of as a decompression bomb.
_MOST_PIXELS = 89_478_485
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
    from PIL import ImageOps

    with _image(path) as image:
        turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
        upright = ImageOps.exif_transpose(image) if turned else image
        pixels, note = _rgb(path, upright)
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
