"""Commands of this project, as typed, and the processes that were started by something."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Bytes of a machine's object store: more than any test sends.
STORE = 80 << 20
# `ray` of the Python that runs this, wherever PATH leads
_RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
# --block: it ends what it started, and nothing else as `ray stop` would
_HEAD = [
    *("start", "--head", "--block", "--port=0", "--include-dashboard=false"),
    *("--disable-usage-stats", f"--object-store-memory={STORE}"),
]
_PATIENCE_S = 180


def typed(
    words: Sequence[str],
    *,
    folder: Path = ROOT,
    variables: Mapping[str, str] | None = None,
    seconds: float = 300,
) -> subprocess.CompletedProcess[str]:
    """``python WORDS`` in a folder, run to its end within so many seconds, with what it said."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def processes_with(name: str, value: str, *, containing: str = "") -> list[int]:
    """Numbers of the processes that inherited an environment variable with this value.

    Args:
        containing: only those in whose command line this is.
    """
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            words = (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"{name}={value}".encode() in variables and containing.encode() in words:
            found += [int(process.name)] * (state != "Z")
    return found


@contextmanager
def ray_head(
    *words: str, outlived: bool = False, **own: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """A cluster as its users start one, ended with all it made: its address, and its variables.

    Args:
        words: further options of ``ray start --head``.
        outlived: its machines outlive it, and are killed after it.
        own: further variables.
    """
    with tempfile.TemporaryDirectory(prefix="q") as folder:
        variables = {
            **os.environ,
            "RAY_TMPDIR": folder,
            "PYTHONUNBUFFERED": "1",  # its address is read from a pipe
            "RAY_worker_niceness": "0",
            "OMP_NUM_THREADS": "1",
            "QREG_CACHE_DIR": str(Path(folder, "cache")),
            **own,
        }
        said = Path(folder, "said")
        with said.open("w") as output:
            head = subprocess.Popen(
                [*_RAY, *_HEAD, *words], env=variables, stdout=output, stderr=output
            )
        try:
            yield _address(head, folder, said), variables
        finally:
            head.send_signal(signal.SIGTERM)
            head.wait(timeout=60)
            until = time.monotonic() + 60 * (not outlived)
            while (left := processes_with("RAY_TMPDIR", folder)) and time.monotonic() < until:
                time.sleep(0.2)
            for number in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            assert outlived or not left, "ray left processes behind"


def _address(head: subprocess.Popen[bytes], folder: str, said: Path) -> str:
    """Where it is, once it has said that it has started, and then written what `auto` reads."""
    until = time.monotonic() + _PATIENCE_S
    written = Path(folder, "ray", "ray_current_cluster")
    while not (written.exists() and written.read_text().strip()):
        assert head.poll() is None, said.read_text()
        assert time.monotonic() < until, said.read_text()
        time.sleep(0.1)
    return written.read_text().strip()
