"""A cache of decoded samples, which later runs map instead of decoding again.

An entry is a folder of .npy files with their sha256; it is built under a temporary name, renamed
when complete, verified when read, and rebuilt if damaged. Its name depends on the source: size,
times and path of each file, and anything else that determines the content. While it is built it is
locked, so that others wait for it, and know what a killed process left.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import stat
import tempfile
import time
import tokenize
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs

from qreg.data.dataset import Progress
from qreg.data.files import extract_arrays, file_sha256, read_npz, unpacked_size
from qreg.data.images import ImageSamples, Pixels
from qreg.errors import DataError
from qreg.files import lock_now, open_regular, read_regular

#: 1: images.npy, labels.npy, index.npy, meta.json {"fingerprint"}
#: 2: any .npy files, meta.json {"files": {name: sha256}, "notes": [...]}
_FORMAT = 2
_BLOCK = 1 << 20
# the last two: numpy reads the header of a .npy file as Python's text
_DAMAGE = (
    RecursionError, OSError, ValueError, KeyError, EOFError, TypeError, AttributeError,
    SyntaxError, tokenize.TokenError,
)  # fmt: skip
# Images that are decoded before they are asked for.
_AHEAD = 64
# Left free on the disk of the cache.
_SPARE = 64 << 20
# So long another process that decodes the same is waited for; it may have been stopped.
_PATIENCE_S, _POLL_S = 600.0, 0.05
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class CacheEntry:
    """What an entry holds: arrays mapped read-only, and notes on how they were made."""

    arrays: dict[str, Array]
    notes: tuple[str, ...] = ()


def cache_root() -> Path:
    """The cache folder: ``QREG_CACHE_DIR``, else the platform's cache folder."""
    chosen = os.environ.get("QREG_CACHE_DIR")
    return Path(chosen) if chosen else platformdirs.user_cache_path("qreg", appauthor=False)


def cached_split(key: str, build: Callable[[], ImageSamples]) -> ImageSamples:
    """The images stored under `key`, mapped read-only; `build` makes them where they are not there.

    If the folder is not writable (read-only home, full disk), samples are decoded every time.
    """
    names = ("images", "labels", "index")
    made: list[ImageSamples] = []

    def write(half: Path) -> tuple[str, ...]:
        made.append(build())
        for name in names:
            np.save(half / f"{name}.npy", getattr(made[0], name))
        return ()

    entry = _entry(key, write)
    if entry is not None:
        with contextlib.suppress(DataError, *_DAMAGE):
            return ImageSamples(**{name: entry.arrays[name] for name in names})  # type: ignore[arg-type]
    return made[0] if made else build()


def cached_images(
    key: str,
    shape: tuple[int, ...],
    decode: Callable[[int], Pixels],
    *,
    threads: int,
    progress: Progress | None,
    notes: Callable[[], tuple[str, ...]],
) -> tuple[Pixels, tuple[str, ...]]:
    """Decoded images, uint8 of that shape (N, H, W, 3), never all in memory where they are kept.

    Args:
        notes: returns what was done to some of them, when all are decoded; it is kept, too.
    """

    def decoded() -> Iterator[Pixels]:
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[Pixels]] = deque()
            for number in range(shape[0]):
                waiting.append(pool.submit(decode, number))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
                if progress is not None and number % 256 == 0:
                    progress(number, shape[0])
            while waiting:
                yield waiting.popleft().result()
            if progress is not None:
                progress(shape[0], shape[0])

    def write(half: Path) -> tuple[str, ...]:
        _write_rows(half / "images.npy", shape, decoded())
        return notes()

    entry = _entry(key, write, size=int(np.prod(shape)))
    if entry is not None and entry.arrays["images"].shape == shape:
        return entry.arrays["images"], entry.notes
    return np.stack(list(decoded())), notes()


def cached_arrays(key: str, path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Arrays of an npz archive, mapped; unpacked without holding them in memory.

    Raises:
        CorruptFileError: it is damaged.
    """
    numbered = {name: f"array{number}" for number, name in enumerate(names)}

    def write(half: Path) -> tuple[str, ...]:
        extract_arrays(path, {name: half / f"{file}.npy" for name, file in numbered.items()})
        return ()

    entry = _entry(key, write, size=unpacked_size(path))
    if entry is not None and set(entry.arrays) == set(numbered.values()):
        return {name: entry.arrays[file] for name, file in numbered.items()}
    return dict(read_npz(path, tuple(names)))


def _write_rows(path: Path, shape: tuple[int, ...], rows: Iterator[Pixels]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    # written in order, and not mapped: a full disk is an error then, and no signal
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows:
            file.write(np.ascontiguousarray(row, dtype=np.uint8).tobytes())


def _entry(
    key: str, write: Callable[[Path], tuple[str, ...]], *, size: int = 0
) -> CacheEntry | None:
    """The entry of that key, written where it is not there; None where it cannot be kept.

    Raises:
        QregError: what `write` raises.
    """
    folder = cache_root() / "decoded" / f"{key}-v{_FORMAT}"
    found = _read(folder)
    if found is None and _wait_for_writer(folder):
        found = _read(folder)
    if found is not None:
        return found
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if size and shutil.disk_usage(folder.parent).free < size + _SPARE:
            return None
        half, handle = _locked_half(folder)
        try:
            notes = write(half)
            files = {path.stem: file_sha256(path) for path in sorted(half.glob("*.npy"))}
            meta = json.dumps({"files": files, "notes": list(notes)})
            (half / "meta.json").write_text(meta)
            # mapped before it is moved: what was just written need not be verified again
            arrays = _mapped(half, files)
            _put_in_place(half, folder)
            return CacheEntry(arrays, notes)
        finally:
            shutil.rmtree(half, ignore_errors=True)
            if handle is not None:
                os.close(handle)
    return None


def _half_prefix(folder: Path) -> str:
    return f"{folder.name}.half-"


def _locked_half(folder: Path) -> tuple[Path, int | None]:
    """A new folder to build an entry in, and the handle of its lock; None where there is none.

    It has its name from the moment that it is locked: others take it for a killed process's else.
    """
    made = Path(tempfile.mkdtemp(prefix=f".{_half_prefix(folder)}", dir=folder.parent))
    handle = None
    with contextlib.suppress(OSError):  # Windows opens no folders
        handle = os.open(made, os.O_RDONLY)
        lock_now(handle)
    half = made.with_name(made.name.removeprefix("."))
    made.rename(half)
    return half, handle


def _wait_for_writer(folder: Path) -> bool:
    """Wait while another process writes this entry; whether one did.

    Decoding takes longer than waiting: the processes of a gate all start with the same samples.
    """
    waited, until = False, time.monotonic() + _PATIENCE_S
    while _is_written(folder) and time.monotonic() < until:
        waited = True
        time.sleep(_POLL_S)
    return waited


def _is_written(folder: Path) -> bool:
    """Whether another process writes this entry; what killed ones left of it is removed."""
    with contextlib.suppress(OSError):
        for half in folder.parent.iterdir():
            if half.name.startswith(_half_prefix(folder)) and half.is_dir():
                handle = os.open(half, os.O_RDONLY)
                try:
                    locked = lock_now(handle)
                    if locked is False:
                        return True
                    if locked:
                        shutil.rmtree(half, ignore_errors=True)
                finally:
                    os.close(handle)
    return False


def _read(folder: Path) -> CacheEntry | None:
    """The entry, if it is complete, undamaged, and owned by this user."""
    if not folder.exists() or not _own(folder):
        return None
    try:
        meta = json.loads(read_regular(folder / "meta.json", most=_BLOCK))
        files, notes = dict(meta["files"]), tuple(map(str, meta["notes"]))
        if not files:
            return None
        for name, sha256 in files.items():
            path = folder / f"{name}.npy"
            if Path(name).name != name or not _is_whole(path) or file_sha256(path) != sha256:
                return None
        return CacheEntry(_mapped(folder, files), notes)
    except _DAMAGE:
        return None


def _mapped(folder: Path, names: Iterable[str]) -> dict[str, Array]:
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}


def _is_whole(path: Path) -> bool:
    """Whether a .npy file is as long as its header says, before all of it is read."""
    with open_regular(path) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            return version == (2, 0)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return file.tell() + math.prod(shape) * dtype.itemsize == os.fstat(file.fileno()).st_size


def _own(folder: Path) -> bool:
    """Whether it is owned by this user and writable by no other: others are not trusted."""
    if not hasattr(os, "geteuid"):
        return True
    found = folder.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


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
