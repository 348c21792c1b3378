"""Cases that need no judging: everything that determines their result is as when they passed.

The key of a case is a digest of what is known before it is judged: the environment and installed
versions, qreg's own code and the code that is loaded (patched or not), the settings, the baseline,
the float model's weights and structure, the samples that are judged and calibrated on. What is
only known afterwards is kept in the entry and compared by content: the project's modules that were
imported, those that were looked for in vain, and every file that Python code opened. Where
something cannot be known, a compiled module of the project for example, the case is judged.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import mmap
import os
import re
import site
import stat
import sys
import sysconfig
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from qreg.files import read_regular, write_atomically
from qreg.processes.temporary import made_folders
from qreg.processes.variables import named_variables
from qreg.records.case import Case
from qreg.records.decode import MismatchError, decoder, parse, plain
from qreg.records.verdict import CaseResult, Outcome

if TYPE_CHECKING:
    from qreg.gate.judge import Judge
    from qreg.gate.pool import JudgeRequest

_FORMAT = 3
# Bytes of an entry: a verdict on 50,000 samples of which all moved has a tenth of it.
_MOST = 1 << 24
# A file system's clock goes in ticks, which are behind by as much.
_CLOCK_S = 0.02
# Entries of one case that are kept, of as many states of a project.
_KEPT = 8
_PACKAGE = Path(__file__).resolve().parents[1]
# What Python and libraries read when they start or run, besides the limits that an environment
# records; the home folder, the time zone and the language are asked for without naming them.
_VARIABLES = re.compile(
    r"ATEN_|DNNL_|FBGEMM_|GOMP_|HOME$|KMP_|LANG|LC_|LD_|MKL_|NPY_|NUMPY_|OMP_|ONEDNN_|OPENBLAS_|"
    r"PYTHON|PYTORCH|QREG_|TMPDIR$|TORCH|TQDM_|TZ|XNNPACK_"
)
_NOT_VARIABLES = ("QREG_CACHE_DIR",)


class UnknownError(Exception):
    """Something that determines a result cannot be known."""


@dataclass(frozen=True)
class CachedCase:
    """A case that passed.

    Attributes:
        key: sha256 of what was known before it was judged.
        files: sha256 of the modules and files that were read, by path.
        missing: the modules that were not found, with the folders of their package, which are
            looked through; none for all of `sys.path`.
        every: whether code may have read any variable.
        environment: the variables that code names, or every one; None for not set.
        started_with: the same as the run began: code may have set them, or taken them away.
    """

    format: int
    key: str
    files: dict[str, str]
    missing: dict[str, tuple[str, ...]]
    every: bool
    environment: dict[str, str | None]
    started_with: dict[str, str | None]
    result: CaseResult


class Opened:
    """The files that Python code of this process opened for reading since this was made.

    Attributes:
        started: when the process began, in seconds since the epoch.
        environment: the variables that it began with.
        missed: the modules that nothing found, with the folders of their package.
    """

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.missed: dict[str, tuple[str, ...]] = {}
        self.started = _process_start()
        self.environment = _first_environment()
        self.own()
        sys.addaudithook(self._see)  # it stays until the process ends

    def own(self) -> None:
        """Let this process be the one whose files are meant; forks share a byte with it."""
        _known_folders()
        self._process, self._by_forks = os.getpid(), mmap.mmap(-1, 1)
        if self not in sys.meta_path:  # the last one, which finds nothing
            sys.meta_path.append(self)

    @property
    def by_forks(self) -> bool:
        """Whether a fork of this process opened a file."""
        return self._by_forks[0] != 0

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _OPENING and isinstance(args[0], (str, bytes, os.PathLike)):
            path, flags = os.fsdecode(args[0]), 0
            if event == "open" and isinstance(args[2], int):
                flags = args[2]
            if event == "ctypes.dlopen" and not os.path.dirname(path):  # noqa: PTH120
                return  # a library that the system looks for
            for one in _database(path) if event == "sqlite3.connect" else (path,):
                self._add(one, flags)

    def find_spec(self, name: str, folders: Iterable[str] | None, _: object = None) -> None:
        """Record a module that no other finder found."""
        self.missed[name] = tuple(map(str, folders or ()))

    def _add(self, path: str, flags: int) -> None:
        with contextlib.suppress(OSError):  # the folder that it is in may be gone
            path = os.path.abspath(path)  # noqa: PTH100 - links are followed when it is read
        if flags & os.O_TRUNC or (flags & os.O_CREAT and flags & os.O_EXCL):
            self.written.add(path)
        elif not flags & os.O_WRONLY and path not in self.written:
            self.read.add(path)
            if os.getpid() != self._process and not _ignored(path):
                self._by_forks[0] = 1


# Audit events of which the first argument is a file; see the standard library's table of them.
_OPENING = frozenset({"open", "ctypes.dlopen", "sqlite3.connect"})


def _database(name: str) -> tuple[str, ...]:
    """The files of a database of SQLite; source: https://sqlite.org/tempfiles.html."""
    path = name
    if name.startswith("file:"):
        path = unquote(re.split("[?#]", name.removeprefix("file:"), maxsplit=1)[0])
        path = re.sub("^//[^/]*", "", path)
    return () if path in ("", ":memory:") else (path, f"{path}-wal", f"{path}-journal")


def _process_start() -> float:
    """When this process began; source: proc(5), field starttime, in ticks since the boot."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.time()


def _first_environment() -> dict[str, str]:
    """The variables that this process was started with."""
    try:
        lines = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(line).partition("=") for line in lines if line)
    return {name: value for name, _, value in pairs}


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
        self._opened.own()
        self._keys: dict[Case, str] = {}

    def result(self, case: Case) -> CaseResult | None:
        """The result that the case had, if all that determines it is equal."""
        try:
            key = self._keys[case] = self._key(case)
        except (Exception, SystemExit):  # it is judged, which says what is wrong
            self._keys.pop(case, None)
            return None
        entry = read_entry(self._path(case, key))
        if entry is None or entry.key != key or not _holds(entry, self._opened):
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
            named, every = named_variables(sources)
            names = None if every else named
            now, first = (_values(names, one) for one in (os.environ, self._opened.environment))
            missing = _missing(self._opened)
            entry = CachedCase(_FORMAT, key, files, missing, every, now, first, result)
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
    versions = sorted(map(_installation, importlib.metadata.distributions()))
    own = sorted(_PACKAGE.rglob("*.py"))
    code = [f"{path.relative_to(_PACKAGE)} {_sha256(str(path))}" for path in own]
    shown = {k: v for k, v in sorted(os.environ.items()) if _VARIABLES.match(k)}
    variables = [f"{k}={v}" for k, v in shown.items() if k not in _NOT_VARIABLES]
    loaded = None  # where one is compiled, no case is kept
    with contextlib.suppress(UnknownError):
        loaded = sorted({*_project_modules()})
    how = (request.settings, request.alpha, request.full, request.options.plain())
    started = (sys.version, sys.flags, warnings.filters, loaded)
    parts = (*map(repr, started), *versions, *code, *variables, repr(how))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _installation(package: importlib.metadata.Distribution) -> str:
    """A package's version and files as they were installed: one's own may keep its version."""
    files = hashlib.sha256((package.read_text("RECORD") or "").encode()).hexdigest()
    return f"{package.name}=={package.version} {files}"


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


def _holds(entry: CachedCase, opened: Opened) -> bool:
    """Whether files, modules and named variables are as they were, and no module is new."""
    environments = ((entry.environment, os.environ), (entry.started_with, opened.environment))
    for kept, now in environments:
        if _values(None if entry.every else kept.keys(), now) != kept:
            return False
    try:
        if any(_is_there(name, folders) for name, folders in entry.missing.items()):
            return False
        if not entry.files.keys() >= set(_project_modules()):
            return False
        return all(_sha256(path) == sha256 for path, sha256 in entry.files.items())
    except (OSError, UnknownError):
        return False


def _files(opened: Opened) -> dict[str, str]:
    """The project's modules that are loaded and the files that were opened, by absolute path.

    Raises:
        UnknownError: of one the content cannot be known.
    """
    if opened.by_forks:
        raise UnknownError("another process, which code started here, opened files")
    found = dict.fromkeys(_project_modules())
    for path in sorted(opened.read):
        whole = _source(path)
        if not ({".pytest_cache", "__pycache__"} & {*Path(whole).parts} or _ignored(whole)):
            found[whole] = None
    try:
        files = [path for path in found if not Path(path).is_dir()]
        for path in files:
            if _changed_at(path) > opened.started - _CLOCK_S:
                raise UnknownError(f"{path} was changed while cases were judged")
        return {path: _sha256(path) for path in files}
    except OSError as error:
        raise UnknownError(f"{error}") from error


def _missing(opened: Opened) -> dict[str, tuple[str, ...]]:
    """The modules that the project, or a library, looked for and did not find."""
    found = {}
    for name, folders in sorted(opened.missed.items()):
        installed = folders and all(_ignored(os.path.join(one, "")) for one in folders)  # noqa: PTH118
        if not installed and not _is_there(name, folders):
            found[name] = folders
    return found


def _is_there(name: str, folders: Collection[str]) -> bool:
    """Whether a module can be imported; `folders` are those of its package."""
    try:
        if folders:
            return PathFinder.find_spec(name, [*folders]) is not None
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _changed_at(path: str) -> float:
    """When a file was last changed, in seconds since the epoch; 0 where there is none."""
    try:
        return os.stat(path).st_ctime  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return 0.0


def _source(path: str) -> str:
    """A file, or the module that it was compiled from."""
    if path.endswith(tuple(BYTECODE_SUFFIXES)):
        with contextlib.suppress(ValueError):
            return importlib.util.source_from_cache(path)
    return path


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
        if _ignored(path) or _installed(name):
            continue
        if path.endswith((*EXTENSION_SUFFIXES, *BYTECODE_SUFFIXES)):
            raise UnknownError(f"{name} is compiled: {path}")
        yield path


def _installed(name: str) -> bool:
    """Whether a module's package is installed: `torch.ops` names no file of its own."""
    package = sys.modules.get(name.partition(".")[0])
    return _ignored(getattr(package, "__file__", None) or "")


def _ignored(path: str) -> bool:
    """Whether a file's content is in the key by its package's version, or is no input."""
    own = tuple(os.path.join(one, "") for one in made_folders())  # noqa: PTH118
    return path.startswith((*_known_folders(), *own)) and not path.startswith("/dev/shm/")


@cache
def _known_folders() -> tuple[str, ...]:
    """Beginnings of such paths; none of them is that of the project."""
    from qreg.data.cache import cache_root

    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*site.getsitepackages(), str(_PACKAGE), str(cache_root().absolute())}
    if site.ENABLE_USER_SITE:
        paths.add(site.getusersitepackages())
    folders = {os.path.join(one, "") for path in paths for one in (path, os.path.realpath(path))}  # noqa: PTH118
    known = (*sorted(folders), "/proc/", "/sys/", "/dev/")
    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118
    return tuple(one for one in known if not here.startswith(one))


def _values(names: Iterable[str] | None, environment: Mapping[str, str]) -> dict[str, str | None]:
    """Of these variables, or of all."""
    chosen = environment if names is None else names
    return {name: environment.get(name) for name in sorted(chosen) if name not in _OF_EACH_RUN}


# They say which test runs, and which command the shell started.
_OF_EACH_RUN = ("PYTEST_CURRENT_TEST", "_")


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
