"""What a worker of a cluster runs: makes the sender's folders, and passes pieces of work on.

The text of this file is sent and executed there, where no qreg need be installed: only the
standard library may be imported. The pieces run in a process of their own (`qreg.processes.server`)
that has PyTorch imported and is used again for the next pieces of the same folders.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: Returns the contents with these digests, one after the other.
Fetch = Callable[[list[str]], Iterator[tuple[str, bytes]]]
# Trees and parts that nothing has used for so long are removed.
_KEPT_S = 14 * 24 * 3600
# Equal on all machines: caches of what is decoded from a file know it by size and time.
_TIME = 1_000_000_000
_PATIENCE_S = 10.0
_servers: dict[str, subprocess.Popen[bytes]] = {}
_said: dict[int, Any] = {}


def work(job: dict[str, Any], listings: dict[str, Any], fetch: Fetch) -> Iterator[dict[str, Any]]:
    """Do the pieces of a job, with their results as they come.

    Yields ``{"lacks": digests}`` and nothing else where parts of files are neither here nor
    among what `fetch` has; else ``{"fetched": bytes}`` first, and ``{"ended": status}`` last where
    a piece ended the process of the work.

    Raises:
        RuntimeError: that process could not be started.
    """
    root = _cache() / "nodes"
    lacking = _lacking(root, job, listings)
    if lacking := [digest for digest in lacking if digest not in job["sent"]]:
        yield {"lacks": lacking}
        return
    fetched, moved = 0, []
    for prefix, digest in job["trees"]:
        folder, count = _tree(root, digest, listings[digest], fetch)
        fetched += count
        moved.append([prefix, str(folder)])
    yield {"fetched": fetched}
    server = _server(job, moved)
    try:
        yield from _ask(server, {"pieces": job["pieces"], "moved": moved})
    except BaseException:  # an interruption too: what runs must not go on
        close()
        raise


def _cache() -> Path:
    chosen = os.environ.get("QREG_CACHE_DIR")
    if chosen:
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "qreg"


def _lacking(root: Path, job: dict[str, Any], listings: dict[str, Any]) -> list[str]:
    found: dict[str, None] = {}
    for _, digest in job["trees"]:
        for _, _, parts, *_ in _amiss(root / "trees" / digest, listings[digest]):
            found.update(dict.fromkeys(one for one in parts if not _part(root, one).exists()))
    return list(found)


def _part(root: Path, digest: str) -> Path:
    return root / "parts" / digest[:2] / digest


def _tree(root: Path, digest: str, listing: list[Any], fetch: Fetch) -> tuple[Path, int]:
    """The folder of a tree, made where it is not there, and how many bytes came for it.

    What a piece of work of before has changed in it is put as it was.
    """
    folder = root / "trees" / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:  # one process of a machine fetches, others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            os.utime(folder)
            amiss = _amiss(folder, listing)
            count = _fetch(root, amiss, fetch)
            for entry in amiss:
                _put(root, folder, entry)
            return folder, count
        _forget(root)
        half = Path(tempfile.mkdtemp(prefix=f"{digest}.half-", dir=folder.parent))
        try:
            count = _fetch(root, listing, fetch)
            for entry in listing:
                _put(root, half, entry)
            os.rename(half, folder)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return folder, count


def _amiss(folder: Path, listing: list[Any]) -> list[Any]:
    """What of a tree is not there, or is not as it was put: all have the same time."""
    return [entry for entry in listing if not _is_as_put(folder, *entry)]


def _is_as_put(folder: Path, name: str, size: int, _: Any, __: Any, *linked: str) -> bool:
    path = folder / name
    try:
        if linked:
            return path.readlink().parts[-len(Path(*linked).parts) :] == Path(*linked).parts
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime) == (size, _TIME)


def _fetch(root: Path, listing: list[Any], fetch: Fetch) -> int:
    wanted = dict.fromkeys(part for _, _, parts, *_ in listing for part in parts)
    count = 0
    for digest, content in fetch([one for one in wanted if not _sound(_part(root, one), one)]):
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"what was sent as {digest} is something else")
        path = _part(root, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f"{digest}.half")
        half.write_bytes(content)
        os.replace(half, path)
        count += len(content)
    return count


def _sound(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def _put(root: Path, half: Path, entry: list[Any]) -> None:
    name, _, parts, runs, *linked = entry
    target = half / name
    if half.resolve() not in (target.parent.resolve() / target.name).parents:
        raise ValueError(f"{name} leads out of its folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    made = target.with_name(f".half-{os.getpid()}")  # others may be reading what was there
    if linked:
        _link(root, made, half, *linked)
        os.replace(made, target)
        return
    with made.open("wb") as file:
        for digest in parts:
            file.write(_part(root, digest).read_bytes())
    made.chmod(0o755 if runs else 0o644)
    os.utime(made, (_TIME, _TIME))
    os.replace(made, target)
    if len(parts) > 1:  # large files are here once
        for digest in parts:
            _part(root, digest).unlink(missing_ok=True)


def _link(root: Path, target: Path, half: Path, digest: str, inner: str) -> None:
    """A link to a part of another tree, which is looked for next to this one."""
    trees = (root / "trees").resolve()
    wanted = os.path.normpath(trees / digest / inner)
    if trees / digest not in (Path(wanted), *Path(wanted).parents):
        raise ValueError(f"{inner} leads out of its folder")
    depth = len(target.relative_to(half).parts)
    target.symlink_to(Path(*[os.pardir] * depth, digest, inner))


def _forget(root: Path) -> None:
    """Remove what has not been used for long."""
    limit = time.time() - _KEPT_S
    for folder in (root / "trees").iterdir():
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < limit:
                shutil.rmtree(folder, ignore_errors=True)
    for path in (root / "parts").glob("*/*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < limit:
                path.unlink()


def _server(job: dict[str, Any], moved: list[list[str]]) -> subprocess.Popen[bytes]:
    """The process that does the work, with the folders of this job; another job's is ended."""
    key = json.dumps([job["start"], moved])
    found = _servers.get(key)
    if found is not None and found.poll() is None:
        return found
    close()
    start, places = job["start"], dict(reversed(moved))  # of one folder's parts, the first
    paths = [places[one] for one in start["paths"] if one in places]
    threads = {name: str(start["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    variables = {
        **_variables(start["variables"]),
        **threads,
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
        "PYTHONWARNINGS": "ignore",
    }
    said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
    process = subprocess.Popen(
        [sys.executable, "-m", "qreg.processes.server", *start["imports"]],
        cwd=places.get(start["folder"]),
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        start_new_session=True,
    )
    _servers[key], _said[process.pid] = process, said
    assert process.stdout
    if process.stdout.readline() != b'{"ready": true}\n':
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        close()
        raise RuntimeError(lines[-1] if lines else f"it ended with {process.poll()}")
    return process


def _variables(sent: dict[str, str | None]) -> dict[str, str]:
    """Those of this machine, with the sender's; what is a path here stays as it is."""
    found = dict(os.environ)
    for name, value in sent.items():
        if value is not None:
            found[name] = value
        elif os.sep not in found.get(name, "") or not Path(found[name]).exists():
            found.pop(name, None)
    return found


def _ask(server: subprocess.Popen[bytes], question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    assert server.stdin
    assert server.stdout
    try:
        server.stdin.write(json.dumps(question).encode() + b"\n")
        server.stdin.flush()
        for line in server.stdout:
            answer = json.loads(line)
            if "done" in answer:
                return
            yield answer
    except (OSError, ValueError):
        pass
    close()
    yield {"ended": server.poll()}


def close() -> None:
    """End the process that does the work; it removes its files when its input ends."""
    for server in _servers.values():
        for pipe in (server.stdin, server.stdout):
            with contextlib.suppress(OSError):
                assert pipe
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=_PATIENCE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        _said.pop(server.pid).close()
    _servers.clear()
