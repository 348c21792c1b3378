"""Cases that need no judging: everything that determines their result is as when they passed.

The key of a case is a digest of what is known before it is judged: the environment and installed
versions, qreg's own code and the code that is loaded (patched or not), the settings, the baseline,
the float model's weights and structure, the samples that are judged and calibrated on. What is
only known afterwards is kept in the entry and compared by content: the project's modules that were
imported, and every file that Python code opened. Where something cannot be known, a compiled
module of the project for example, the case is judged.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import site
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qreg.files import read_regular, write_atomically
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, parse, plain
from qreg.records.verdict import CaseResult, Outcome

if TYPE_CHECKING:
    from qreg.gate.judge import Judge
    from qreg.gate.pool import JudgeRequest

_FORMAT = 1
# Bytes of an entry: a verdict on 50,000 samples of which all moved has a tenth of it.
_MOST = 1 << 24
# Entries of one case that are kept, of as many states of a project.
_KEPT = 8
_PACKAGE = Path(__file__).resolve().parents[1]
# What libraries read when they start or run, besides the limits that an environment records.
_VARIABLES = re.compile(
    r"ATEN_|DNNL_|FBGEMM_|GOMP_|KMP_|LD_|MKL_|NPY_|NUMPY_|OMP_|ONEDNN_|OPENBLAS_|PYTHONHASHSEED|"
    r"PYTORCH|QREG_|TORCH|TQDM_|XNNPACK_"
)
_NOT_VARIABLES = ("QREG_CACHE_DIR",)
_ENVIRONMENT = re.compile(r"\b(?:environ|getenv)\b")
_NAMED = re.compile(
    r"""\b(?:environ(?:\.get|\.setdefault|\.pop)?\s*[\[(]|getenv\s*\()\s*["'](\w+)["']"""
)


class UnknownError(Exception):
    """Something that determines a result cannot be known."""


@dataclass(frozen=True)
class CachedCase:
    """A case that passed.

    Attributes:
        key: sha256 of what was known before it was judged.
        files: sha256 of the modules and files that were read, by path.
        environment: the variables that the modules name, or all of them; None for not set.
    """

    format: int
    key: str
    files: dict[str, str]
    environment: dict[str, str | None]
    result: CaseResult


class Opened:
    """The files that Python code of this process opened for reading since this was made."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.written: set[str] = set()
        sys.addaudithook(self._see)  # it stays until the process ends

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(args[0], (str, bytes, os.PathLike)):
            return
        path, flags = os.fsdecode(args[0]), args[2] if isinstance(args[2], int) else 0
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        (self.written if writes else self.read).add(path)


_opened: list[Opened] = []


def watch_files() -> Opened:
    """Watch the files of this process and of its forks, once."""
    if not _opened:
        _opened.append(Opened())
    return _opened[0]


class Unchanged:
    """Looks cases up, and keeps those that passed, in the process that judges.

    Args:
        run: digest of what is the same for all cases of a run; see `run_key`.
        modules: whose loaded code counts.
        folder: of the entries.
    """

    def __init__(self, judge: Judge, run: str, modules: tuple[str, ...], folder: Path) -> None:
        self._judge, self._run, self._modules, self._folder = judge, run, modules, folder
        self._opened = watch_files()
        self._keys: dict[Case, str] = {}

    def result(self, case: Case) -> CaseResult | None:
        """The result that the case had, if all that determines it is equal."""
        try:
            key = self._keys[case] = self._key(case)
        except (Exception, SystemExit):  # it is judged, which says what is wrong
            self._keys.pop(case, None)
            return None
        entry = read_entry(self._path(case, key))
        if entry is None or entry.key != key or not _holds(entry):
            return None
        verdict = entry.result.verdict
        if verdict is None or verdict.case != case or verdict.outcome is not Outcome.PASS:
            return None
        return replace(entry.result, verdict=replace(verdict, unchanged=True))

    def keep(self, case: Case, result: CaseResult) -> None:
        """Keep the result of a case that passed and whose determinants are all known."""
        key = self._keys.pop(case, None)
        passed = result.verdict is not None and result.verdict.outcome is Outcome.PASS
        if key is None or not passed:
            return
        try:
            if self._key(case) != key:  # judging it changed what is loaded
                return
            files = _files(self._opened)
            sources = [Path(n).read_bytes() for n in files if n.endswith(".py") and files[n]]
            entry = CachedCase(_FORMAT, key, files, _environment(sources), result)
            write_entry(self._path(case, key), entry)
        except (UnknownError, OSError):
            return

    def _key(self, case: Case) -> str:
        from qreg.measure.code_state import code_state

        parts = (self._run, str(case), code_state(self._modules), *self._judge.determinants(case))
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _path(self, case: Case, key: str) -> Path:
        name = hashlib.sha256(f"{Path.cwd()} {case}".encode()).hexdigest()[:16]
        return self._folder / f"{name}-{key}.json"


def run_key(request: JudgeRequest) -> str:
    """Digest of what all cases of a run depend on: versions, qreg's code, settings, limits."""
    versions = sorted(f"{one.name}=={one.version}" for one in importlib.metadata.distributions())
    own = sorted(_PACKAGE.rglob("*.py"))
    code = [f"{path.relative_to(_PACKAGE)} {_sha256(str(path))}" for path in own]
    shown = {k: v for k, v in sorted(os.environ.items()) if _VARIABLES.match(k)}
    variables = [f"{k}={v}" for k, v in shown.items() if k not in _NOT_VARIABLES]
    how = (request.settings, request.alpha, request.full, request.options.plain())
    parts = (sys.version, *versions, *code, *variables, repr(how))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def known_state(request: JudgeRequest) -> tuple[str, tuple[str, ...]]:
    """What the forks of a run need: its key, and the modules whose loaded code counts."""
    from qreg.measure.code_state import watched_modules

    watch_files()
    return run_key(request), watched_modules()


def entries_folder() -> Path:
    """Where entries are kept: in the cache folder."""
    from qreg.data.cache import cache_root

    return cache_root() / "verdicts"


def read_entry(path: Path) -> CachedCase | None:
    """The entry in a file, None where there is none, or one that is damaged or another user's."""
    try:
        if not _own(path) or not _own(path.parent):
            return None
        content = parse(read_regular(path, most=_MOST))
        if not isinstance(content, dict) or content.pop("sha256", None) != _checksum(content):
            return None
        found: CachedCase = decoder(CachedCase)(content)
    except (MismatchError, OSError, ValueError, RecursionError):
        return None
    return found if found.format == _FORMAT else None


def write_entry(path: Path, entry: CachedCase) -> None:
    """Write an entry, and remove the oldest of the same case.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = plain(entry)
    text = json.dumps(content | {"sha256": _checksum(content)})
    write_atomically(path, text.encode())
    same = sorted(
        path.parent.glob(f"{path.name.partition('-')[0]}-*.json"),
        key=lambda one: one.stat().st_mtime,
    )
    for old in same[:-_KEPT]:
        old.unlink(missing_ok=True)


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _own(path: Path) -> bool:
    if not hasattr(os, "geteuid"):
        return True
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _holds(entry: CachedCase) -> bool:
    """Whether files, modules and named variables are as they were."""
    if any(os.environ.get(name) != value for name, value in entry.environment.items()):
        return False
    try:
        return all(_sha256(path) == sha256 for path, sha256 in entry.files.items())
    except OSError:
        return False


def _files(opened: Opened) -> dict[str, str]:
    """The project's modules that are loaded and the files that were opened, by absolute path.

    Raises:
        UnknownError: of one the content cannot be known.
    """
    found = dict.fromkeys(_project_modules())
    written = {os.path.abspath(path) for path in opened.written}  # noqa: PTH100
    for path in sorted(opened.read):
        whole = os.path.abspath(path)  # noqa: PTH100 - links are followed when it is read
        kept_by_tools = {"__pycache__", ".pytest_cache"} & set(Path(whole).parts)
        if whole not in written and not kept_by_tools and not whole.startswith(_ignored()):
            found[whole] = None
    try:
        return {path: _sha256(path) for path in found if not Path(path).is_dir()}
    except OSError as error:
        raise UnknownError(f"{error}") from error


def _project_modules() -> Iterator[str]:
    """Source files of the modules that are neither installed nor qreg's.

    Raises:
        UnknownError: one is compiled, or has no file.
    """
    for name, module in tuple(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        located = getattr(spec, "has_location", False)  # torch's generated module has a mere name
        origin = getattr(module, "__file__", None) or (spec.origin if spec and located else None)
        if origin is None:
            continue  # built in, a namespace, or made by code that is itself in a file
        path = os.path.abspath(str(origin))  # noqa: PTH100
        if path.startswith(_ignored()) or _installed(name):
            continue
        if not path.endswith(".py"):
            raise UnknownError(f"{name} is compiled: {path}")
        yield path


def _installed(name: str) -> bool:
    """Whether a module's package is installed: `torch.ops` names no file of its own."""
    package = sys.modules.get(name.partition(".")[0])
    return (getattr(package, "__file__", None) or "").startswith(_ignored())


@cache
def _ignored() -> tuple[str, ...]:
    """Beginnings of paths whose content the key has by version, or that hold no input."""
    from qreg.data.cache import cache_root

    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*site.getsitepackages(), str(_PACKAGE), str(cache_root().absolute())}
    if site.ENABLE_USER_SITE:
        paths.add(site.getusersitepackages())
    folders = {os.path.join(one, "") for path in paths for one in (path, os.path.realpath(path))}  # noqa: PTH118
    return (*sorted(folders), "/proc/", "/sys/", "/dev/", *_own_temporary())


def _own_temporary() -> tuple[str, ...]:
    return (str(Path(tempfile.gettempdir(), "qreg-")),)


def _environment(sources: list[bytes]) -> dict[str, str | None]:
    """The variables that sources name; all of this process where one reads others, too."""
    names: set[str] = set()
    for source in sources:
        text = source.decode(errors="replace")
        named = _NAMED.findall(text)
        mentioned = [line for line in text.splitlines() if "import" not in line]
        if len(_ENVIRONMENT.findall("\n".join(mentioned))) > len(named):
            return dict(os.environ)
        names.update(named)
    return {name: os.environ.get(name) for name in sorted(names - set(_SET_BY_PYTEST))}


# They say which test runs.
_SET_BY_PYTEST = ("PYTEST_CURRENT_TEST",)


def _sha256(path: str) -> str:
    """Of a file's content; "" where there is none, which may have been asked for, too."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return _content(path, (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino))


@lru_cache(maxsize=4096)
def _content(path: str, _state: tuple[int, ...]) -> str:
    """Of the file that had these times, in this process."""
    found = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
