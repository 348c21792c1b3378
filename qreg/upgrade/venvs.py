"""Virtual environments of PyTorch versions, created once and kept in the cache.

An environment is created under a temporary name and renamed when it is complete and its PyTorch
version verified: under its final name it is never incomplete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock

from qreg.data.cache import cache_root
from qreg.errors import QregError
from qreg.processes.child import following
from qreg.progress import Progress, no_progress
from qreg.upgrade.releases import optional_requirements, requirements

_ASK = "import json, torch; print(json.dumps(torch.__version__))"
_VERSIONS = """
import importlib.metadata, json, sys
found = {one.name.lower(): one.version for one in importlib.metadata.distributions() if one.name}
print(json.dumps({name: found.get(name) for name in sys.argv[1:]}))
"""
_STEPS = 4


@dataclass(frozen=True)
class Venv:
    """A virtual environment to create.

    Attributes:
        folder: its final path; `half` is the temporary one.
    """

    version: str
    folder: Path

    @property
    def half(self) -> Path:
        """The temporary path; the lock's owner may remove what a killed process left there."""
        return self.folder.with_name(f"{self.folder.name}.half")


def venv_python(version: str, *, show: Progress = no_progress) -> Path:
    """The interpreter of the version's environment, created if it does not exist.

    A second process waits until the first has created it.

    Raises:
        QregError: it cannot be created; with pip's message.
    """
    python = f"py{sys.version_info[0]}.{sys.version_info[1]}"
    venv = Venv(version, cache_root() / "venvs" / f"torch-{version}-{python}")
    if not _works(venv):
        show(0, _STEPS, f"torch {version}: waiting for another process")
        with _locked(venv):
            if not _works(venv):
                _make(
                    venv,
                    partial(_build, venv, show),
                    name=f"torch {version}",
                    hint="it needs about 6 GB in QREG_CACHE_DIR or, by default, the user's cache "
                    "folder",
                )
    return _python(venv.folder)


def add_packages(version: str, packages: Sequence[str], *, show: Progress = no_progress) -> None:
    """Install packages of exactly these versions in a PyTorch version's environment.

    Raises:
        QregError: pip cannot; with its message.
    """
    python = venv_python(version, show=show)
    wanted = dict(one.split("==") for one in packages)
    venv = Venv(version, python.parent.parent)
    with _locked(venv):
        found = json.loads(_run([str(python), "-c", _VERSIONS, *wanted], f"{python} does not work"))
        if found != wanted:
            pip_install(
                python, packages, report=lambda text: show(3, _STEPS, f"torch {version}: {text}")
            )


def overlay_python(packages: Sequence[str], *, show: Progress = no_progress) -> Path:
    """An interpreter with these versions, and with this one's packages in everything else.

    Raises:
        QregError: it cannot be created; with pip's message.
    """
    parent = sysconfig.get_path("purelib")
    key = hashlib.sha256(f"{sys.executable}\n{parent}".encode()).hexdigest()[:12]
    name = "+".join(one.replace("==", "-") for one in sorted(packages))
    venv = Venv(name, cache_root() / "venvs" / f"{name}-{key}")
    if not _works(venv):
        with _locked(venv):
            if not _works(venv):
                _make(
                    venv,
                    partial(_build_overlay, venv, packages, Path(parent), show),
                    name=name,
                    hint="set QREG_CACHE_DIR to a folder with room",
                )
    return _python(venv.folder)


def _build_overlay(venv: Venv, packages: Sequence[str], parent: Path, show: Progress) -> None:
    show(0, 2, f"{venv.version}: creating an environment")
    _create(venv.half, venv.version)
    python = _python(venv.half)
    only = ("--no-deps", *packages)
    pip_install(python, only, report=lambda text: show(1, 2, f"{venv.version}: {text}"))
    (own,) = venv.half.glob("lib/python*/site-packages")
    # after its own packages on sys.path
    (own / "qreg-parent.pth").write_text(f"{parent}\n")


def _python(folder: Path) -> Path:
    # absolute, but not resolved: the interpreter of an environment is a link
    return (folder / "bin" / "python").absolute()


def _works(venv: Venv) -> bool:
    """Whether it exists and its interpreter, a link, is not dangling."""
    return os.access(_python(venv.folder), os.X_OK)


def _locked(venv: Venv) -> FileLock:
    try:
        venv.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(venv.folder.with_name(f"{venv.folder.name}.lock"))
    except OSError as error:
        raise QregError(
            f"the cache of environments cannot be written: {error}",
            hint="set QREG_CACHE_DIR to a writable folder",
        ) from error


def _make(venv: Venv, build: Callable[[], None], *, name: str, hint: str) -> None:
    """Build it under its temporary name, and rename it when it is complete."""
    shutil.rmtree(venv.half, ignore_errors=True)
    try:
        build()
        shutil.rmtree(venv.folder, ignore_errors=True)
        os.rename(venv.half, venv.folder)
    except OSError as error:
        raise QregError(
            f"the environment of {name} cannot be created: {error}", hint=hint
        ) from error
    finally:
        shutil.rmtree(venv.half, ignore_errors=True)


def _build(venv: Venv, show: Progress) -> None:
    name = f"torch {venv.version}"
    show(0, _STEPS, f"{name}: creating an environment")
    _create(venv.half, name)
    python = _python(venv.half)
    wanted = requirements(venv.version)
    pip_install(python, wanted, report=lambda text: show(1, _STEPS, f"{name}: {text}"))
    more = optional_requirements(venv.version)
    if more:
        try:
            pip_install(python, more, report=lambda text: show(2, _STEPS, f"{name}: {text}"))
        except QregError as error:  # methods that need it are then reported as unavailable
            show(2, _STEPS, str(error))
    show(3, _STEPS, f"{name}: verifying it")
    found = json.loads(_run([str(python), "-c", _ASK], f"{name} does not work"))
    if found.partition("+")[0] != venv.version.partition("+")[0]:
        raise QregError(f"pip installed torch {found} instead of {venv.version}")


def _create(folder: Path, name: str) -> None:
    """Create an environment of this interpreter, with pip in it: by uv where it is on PATH."""
    if uv := shutil.which("uv"):
        command = [uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(folder)]
        if subprocess.run(following(command), capture_output=True, check=False).returncode == 0:
            return
        shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)], f"cannot create an environment for {name}")


def _run(command: list[str], what: str) -> str:
    done = subprocess.run(following(command), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise QregError(f"{what}: {last}", hint="give the path of an interpreter that has it")
    return done.stdout.strip().rpartition("\n")[2]


# What pip or uv begins with; what else they print is its progress, of no use in a line of ours.
_DOING = re.compile(
    r"\s*((?:Collecting|Downloading|Building|Preparing|Installing|Successfully|Resolved|Prepared"
    r"|Installed) [^\s=%]+)"
)
_KEPT = 40  # last lines of pip's output, which contain the reason of a failure
_NOTHING_FOUND = "from versions: none"


def pip_install(
    python: Path, requirements: Sequence[str], *, report: Callable[[str], None] = lambda _: None
) -> None:
    """Install with uv where it is on PATH, else or where that fails with the interpreter's pip.

    uv does not read pip's settings, which may name the only index that has the packages.

    Args:
        report: called with the progress.

    Raises:
        QregError: it fails; with pip's message.
    """
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--python", str(python), *requirements]
        if _installed(command, report)[0] == 0:
            return
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    status, lines = _installed([*command, *requirements], report)
    if status:
        raise _failure(requirements[0], lines)


def _installed(command: list[str], report: Callable[[str], None]) -> tuple[int, tuple[str, ...]]:
    """The exit status of an installer, and the last lines of its output."""
    lines: deque[str] = deque(maxlen=_KEPT)
    with subprocess.Popen(
        following(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line.strip())
                if doing := _DOING.match(line):
                    report(doing[1][:40])
        except BaseException:
            process.kill()
            raise
    return process.returncode, tuple(lines)


def _failure(wanted: str, lines: Sequence[str]) -> QregError:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = " | ".join(errors) or (lines[-1] if lines else "nothing")
    # pip says this both without a network and where no file fits this Python
    unreached = any(_NOTHING_FOUND in line for line in lines)
    return QregError(
        f"pip cannot install {wanted}: {reason}",
        hint="check the network and that a build for this Python and system exists, or give the "
        "path of an interpreter that has the version"
        if unreached
        else "choose a version that pip finds, or give the path of an interpreter that has it",
    )
