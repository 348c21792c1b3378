"""Running pip, and what it said when it fails."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from qreg.errors import QregError

_KEPT = 40  # lines of what pip said last, in which the reason is looked for
_NOTHING_FOUND = "from versions: none"


def pip_install(
    python: Path, requirements: Sequence[str], *, said: Callable[[str], None] = lambda _: None
) -> None:
    """Install with the pip of an interpreter; `said` is called with what it is doing.

    Raises:
        QregError: it fails, with what pip said.
    """
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    lines: deque[str] = deque(maxlen=_KEPT)
    with subprocess.Popen(
        [*command, *requirements], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line.strip())
                said(_doing(line))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise _failure(requirements[0], tuple(lines))


def _doing(line: str) -> str:
    """The first words of a line of pip's: `Collecting torch==2.14.1`, `Downloading ...`."""
    return " ".join(line.split()[:2]).partition("=")[0][:40]


def _failure(wanted: str, lines: Sequence[str]) -> QregError:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = " | ".join(errors) or (lines[-1] if lines else "nothing")
    # so it says when it reached no index, and when the index has no file for this Python
    unreached = any(_NOTHING_FOUND in line for line in lines)
    return QregError(
        f"{wanted} cannot be installed; pip said: {reason}",
        hint="is there a network, and a build for this Python and system? An interpreter that has "
        "the version will do: --from or --to its path"
        if unreached
        else "choose a version that pip finds, or give the path of an interpreter that has it",
    )
