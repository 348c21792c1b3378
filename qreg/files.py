"""Files: written atomically, so that readers see the old content or the new; read with limits."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from qreg.errors import QregError

# Writing takes milliseconds: who waits longer waits for a process that hangs.
PATIENCE_S = 60


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` as a new file, then rename it into place.

    An existing file keeps its mode; a new one has the mode given by the umask. A process that is
    killed leaves nothing where the file system knows files without a name (Linux's `O_TMPFILE`),
    else perhaps a file ``.NAME.XXXXXXXX``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _write_unnamed(path, content):
        _write_named(path, content)


def _write_unnamed(path: Path, content: bytes) -> bool:
    """Write a file that has no name until it is whole; False where there are no such files."""
    if sys.platform != "linux":
        return False
    try:
        handle = os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, 0o600)
    except OSError:  # not there, or the other way raises the same
        return False
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(handle, _mode(path))
        os.fsync(handle)
        return _name(handle, path)


def _name(handle: int, path: Path) -> bool:
    """Put an open file without a name at `path`; False where it cannot be named."""
    new = path.with_name(f".{path.name}.new")
    while True:
        try:
            # with a folder's handle Python follows the link to the file, which is what is named
            os.link(f"/proc/self/fd/{handle}", new, src_dir_fd=handle, follow_symlinks=True)
        except FileExistsError:  # of a killed process, or of one that will try again
            new.unlink(missing_ok=True)
            continue
        except OSError:
            return False
        try:
            os.replace(new, path)
            return True
        except FileNotFoundError:  # another process took it for a killed one's
            if not path.parent.exists():
                raise
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def _write_named(path: Path, content: bytes) -> None:
    handle, half = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(half).chmod(_mode(path))
        os.replace(half, path)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        umask = os.umask(0o077)
        os.umask(umask)
        return 0o666 & ~umask


def resolved(path: Path) -> Path:
    """The absolute path that links lead to; of links in a circle one of them.

    `Path.resolve` ends them, before Python 3.13, in a RuntimeError.
    """
    return Path(os.path.realpath(path))


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user named: replaced as a whole, where it is a regular file.

    A link is followed, to what it names. What is no regular file is written to, never replaced:
    a device, a pipe, ``/dev/stdout``.

    Raises:
        QregError: it cannot be written.
    """
    try:
        if is_stream(path):
            with path.open("ab") as stream:
                stream.write(content)
        else:
            write_atomically(_target(path), content)
    except OSError as error:
        raise _not_written(path, error.strerror or str(error)) from error


def check_output(path: Path) -> None:
    """Check that `write_output` can write there, before long work depends on it.

    Raises:
        QregError: it could not.
    """
    if path.is_dir():
        raise _not_written(path, "it is a folder")
    if is_stream(path) and not path.exists():
        raise _not_written(path, "there is no such device")
    target = path if is_stream(path) else _target(path)
    if target.exists() and not os.access(target, os.W_OK):
        raise _not_written(path, "it may not be written")
    if not is_stream(path):
        folder = next(one for one in target.parents if one.exists())
        try:
            tempfile.TemporaryFile(dir=folder).close()  # what root may do is known by trying only
        except OSError as error:
            text = f"{folder} is no folder that may be written ({error.strerror})"
            raise _not_written(path, text) from error


def _target(path: Path) -> Path:
    target = resolved(path)
    if target.is_symlink():
        raise _not_written(path, os.strerror(errno.ELOOP))
    return target


def is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe, or an open file of a process."""
    if path.absolute().parts[1:2] in (("dev",), ("proc",)):
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _not_written(path: Path, why: str) -> QregError:
    return QregError(f"{path} cannot be written: {why}", hint="choose another file")


def open_regular(path: Path | str, *, most: int | None = None) -> BinaryIO:
    """Open a regular file for reading; never waits, as the opening of a pipe does.

    Args:
        most: bytes that it may have; None for any number.

    Raises:
        OSError: there is none, it is a folder, a pipe or a device, or it is larger.
    """
    handle = os.open(path, _READ)
    try:
        _check_regular(os.fstat(handle), path, most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _check_regular(status: os.stat_result, path: Path | str, most: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"no file, but {_what(status.st_mode)}", str(path))
    if most is not None and status.st_size > most:
        text = f"{status.st_size:,} bytes, and at most {most:,} are read"
        raise OSError(errno.EFBIG, text, str(path))


def read_with_state(path: Path | str, *, most: int) -> tuple[bytes, os.stat_result]:
    """The content of a regular file, as `read_regular`, and its state when it was opened.

    Raises:
        OSError: as `open_regular`.
    """
    handle = os.open(path, _READ)
    try:
        found = os.fstat(handle)
        _check_regular(found, path, most)
        content = os.read(handle, found.st_size)
        while len(content) < found.st_size and (more := os.read(handle, found.st_size)):
            content += more
        return content, found
    finally:
        os.close(handle)


def read_regular(path: Path | str, *, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        OSError: as `open_regular`.
    """
    return read_with_state(path, most=most)[0]


def _what(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock, made where it is not there, with the mode that the umask leaves.

    Raises:
        QregError: another process does not release it.
        OSError: it cannot be made, or it is no regular file.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, flags, 0o666)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"no file, but {_what(mode)}", str(path))
    finally:
        os.close(handle)
    from filelock import FileLock, Timeout  # every command imports this module

    try:
        with FileLock(path, timeout=PATIENCE_S, mode=stat.S_IMODE(mode)):
            yield
    except Timeout as error:
        raise QregError(
            f"{path.parent}: another process has been writing for {PATIENCE_S} s",
            hint="wait for it, or end it",
        ) from error


def lock_now(handle: int) -> bool | None:
    """Whether this open file or folder is now locked by its handle; None where none can be.

    The lock lasts until the handle is closed, or its process ends.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return None
    return True


@contextlib.contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Hold a lock of a folder, which leaves no file in it; where none can be locked, go on.

    Raises:
        QregError: another process does not release it.
    """
    if sys.platform == "win32":
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle, until = os.open(folder, os.O_RDONLY), time.monotonic() + PATIENCE_S
    try:
        while lock_now(handle) is False:
            if time.monotonic() > until:
                raise QregError(
                    f"{folder}: another process has been writing for {PATIENCE_S} s",
                    hint="wait for it, or end it",
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def shipped_folder() -> Path:
    """The shipped baselines: in a source checkout, else in the package."""
    package = Path(__file__).resolve().parent
    source = package.parent / "baselines"
    return source if source.is_dir() else package / "_baselines"


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines; they are on disk when this returns. A truncated last line is terminated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, f"no file, but {_what(path.stat().st_mode)}", str(path))
    with locked(path.with_name(f"{path.name}.lock")), path.open("ab") as file:
        ended = not file.tell() or _last_byte(path) == b"\n"
        file.write(("" if ended else "\n").encode() + "".join(f"{one}\n" for one in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(
    path: Path, *, longest: int = 1 << 20, most: int = 1 << 28
) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and content of every non-empty line; what exceeds `longest` is cut off.

    Raises:
        OSError: it is no regular file, or of more than `most` bytes.
    """
    with open_regular(path, most=most) as file:
        number, kept = 0, True
        while line := file.readline(longest):
            number += kept
            if kept and line.strip():
                yield number, line.removesuffix(b"\n")
            kept = line.endswith(b"\n")


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
