"""Virtual environments of PyTorch versions, made once and kept in the cache.

One is made under a temporary name and renamed when it is whole and its PyTorch was seen to be the
version asked for: under its final name there is never half of one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from qreg.data.cache import cache_root
from qreg.errors import QregError
from qreg.progress import Progress, no_progress
from qreg.upgrade.releases import optional_requirements, requirements

_ASK = "import json, torch; print(json.dumps(torch.__version__))"
_STEPS = 4


@dataclass(frozen=True)
class Venv:
    """A virtual environment in the making.

    Attributes:
        folder: its final name; `half`, the temporary one beside it.
    """

    version: str
    folder: Path

    @property
    def half(self) -> Path:
        """Where it is made; who holds the lock may remove what a killed process left there."""
        return self.folder.with_name(f"{self.folder.name}.half")


def venv_python(version: str, *, show: Progress = no_progress) -> Path:
    """The interpreter of the version's environment, which is made if it is not there.

    A second process waits until the first has made it.

    Raises:
        QregError: it cannot be made, with what pip said.
    """
    here = f"py{sys.version_info[0]}.{sys.version_info[1]}"
    venv = Venv(version, cache_root() / "venvs" / f"torch-{version}-{here}")
    if not _works(venv):
        show(0, _STEPS, f"torch {version}: waiting for another process")
        with _locked(venv):
            if not _works(venv):
                _make(venv, show)
    return _python(venv.folder)


def _python(folder: Path) -> Path:
    # absolute, but not resolved: the interpreter of an environment is a link
    return (folder / "bin" / "python").absolute()


def _works(venv: Venv) -> bool:
    """Whether it is there; its interpreter's own may have been removed since."""
    return os.access(_python(venv.folder), os.X_OK)


def _locked(venv: Venv) -> FileLock:
    try:
        venv.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(venv.folder.with_name(f"{venv.folder.name}.lock"))
    except OSError as error:
        raise QregError(
            f"no environment can be kept: {error}", hint="set QREG_CACHE_DIR to a folder of yours"
        ) from error


def _make(venv: Venv, show: Progress) -> None:
    shutil.rmtree(venv.half, ignore_errors=True)
    try:
        _build(venv, show)
        shutil.rmtree(venv.folder, ignore_errors=True)
        os.rename(venv.half, venv.folder)
    except OSError as error:
        raise QregError(
            f"the environment of torch {venv.version} cannot be made: {error}",
            hint="it takes about 6 GB in QREG_CACHE_DIR, else in the user's cache folder",
        ) from error
    finally:
        shutil.rmtree(venv.half, ignore_errors=True)


def _build(venv: Venv, show: Progress) -> None:
    name = f"torch {venv.version}"
    show(0, _STEPS, f"{name}: making an environment")
    _run([sys.executable, "-m", "venv", str(venv.half)], f"no environment for {name}")
    python = _python(venv.half)
    wanted = requirements(venv.version)
    pip_install(python, wanted, said=lambda text: show(1, _STEPS, f"{name}: {text}"))
    more = optional_requirements(venv.version)
    if more:
        try:
            pip_install(python, more, said=lambda text: show(2, _STEPS, f"{name}: {text}"))
        except QregError as error:  # what needs it is then unavailable, and says so
            show(2, _STEPS, str(error))
    show(3, _STEPS, f"{name}: trying it")
    found = json.loads(_run([str(python), "-c", _ASK], f"{name} does not work"))
    if found.partition("+")[0] != venv.version.partition("+")[0]:
        raise QregError(f"torch {venv.version} was asked for, {found} was installed")


def _run(command: list[str], what: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise QregError(f"{what}: {said}", hint="give the path of an interpreter that has it")
    return done.stdout.strip().rpartition("\n")[2]


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
