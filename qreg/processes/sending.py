"""What pieces of work read, as files by content: found here, and read from where they are put.

A tree is a folder, or some files of one. Another machine makes it once from what it lacks, under a
name that is the digest of names and contents, so that two runs and all processes there share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, is_dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import qreg
from qreg.data import DATASETS, get_dataset, is_path
from qreg.data.cache import cache_root
from qreg.errors import MissingCheckpointError, QregError
from qreg.files import open_regular, shipped_folder
from qreg.measure.options import Options
from qreg.processes.executor import Places
from qreg.records.case import Case, file_part
from qreg.records.method import CheckpointKind
from qreg.registry import is_object_path
from qreg.selection import dataset_sources, gate_options, use_project
from qreg.settings import Settings, read_settings
from qreg.training.checkpoints import find_checkpoint, recipe_of

#: Files are sent in parts of at most so many bytes.
PART = 16 << 20
# Of a project, without its data, baselines and checkpoints: more is a mistake.
_MOST = 2 << 30
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


@dataclass(frozen=True)
class SentFile:
    """A file of a tree: its path in it, its size, and the sha256 of each part.

    Attributes:
        linked: of what is a link to another tree: that one's digest, and the path in it.
    """

    path: str
    size: int
    parts: tuple[str, ...]
    runs: bool = False
    linked: tuple[str, str] | None = None


@dataclass(frozen=True)
class Tree:
    """Files below a folder, by content.

    Attributes:
        prefix: the folder as the sender names it.
        sources: where each entry is read from.
    """

    prefix: str
    entries: tuple[SentFile, ...]
    sources: tuple[Path, ...]

    @cached_property
    def listing(self) -> list[list[Any]]:
        """The entries as JSON."""
        return [
            [one.path, one.size, list(one.parts), one.runs, *(one.linked or ())]
            for one in self.entries
        ]

    @cached_property
    def digest(self) -> str:
        """Of names and contents."""
        return hashlib.sha256(json.dumps(self.listing).encode()).hexdigest()[:32]

    def read(self, number: int, part: int) -> bytes:
        """A part of a file.

        Raises:
            QregError: the file has changed since, or cannot be read.
        """
        source, entry = self.sources[number], self.entries[number]
        try:
            with open_regular(source) as file:
                file.seek(part * PART)
                content = file.read(PART)
        except OSError as error:
            raise QregError(f"{source}: {error}", hint="it must stay where it is") from error
        if hashlib.sha256(content).hexdigest() != entry.parts[part]:
            raise QregError(f"{source} was changed while it was sent", hint="run again")
        return content


def make_tree(prefix: Path, files: Iterable[tuple[str, Path]]) -> Tree:
    """A tree of files, each with its path in the tree.

    Raises:
        QregError: one cannot be read.
    """
    found = sorted(dict(files).items())
    entries = []
    for path, source in found:
        try:
            with open_regular(source) as file:
                size, runs = os.fstat(file.fileno()).st_size, os.access(source, os.X_OK)
                parts = tuple(
                    hashlib.sha256(part).hexdigest() for part in iter(lambda: file.read(PART), b"")
                )
        except OSError as error:
            hint = "what a project needs must be files that may be read"
            raise QregError(f"{source}: {error.strerror or error}", hint=hint) from error
        entries.append(SentFile(path, size, parts, runs))
    return Tree(str(prefix), tuple(entries), tuple(source for _, source in found))


def folder_tree(folder: Path) -> Tree:
    """All files of a folder, or of a file's name alone in its folder."""
    return make_tree(folder, _below(folder))


def _below(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _SKIPPED & set(path.parts):
            yield prefix + path.relative_to(folder).as_posix(), path


def trees_of(
    settings: Settings, cases: Sequence[Case], options: Options, baselines: Path | None = None
) -> tuple[Tree, ...]:
    """What another machine needs to measure a project's cases.

    Raises:
        QregError: a file cannot be read, or the project is too large to be sent.
    """
    names = tuple(dict.fromkeys(case.dataset for case in cases))
    own = [] if baselines is None else [baselines.resolve()]
    weights = [options.folders[0].resolve()]
    data = list(_data(settings, names, options))
    apart = [*own, *weights, *(path for path, _ in data)]
    data_trees = [make_tree(prefix, files) for prefix, files in _by_prefix(data).items()]
    folders = {path for path, prefix in data if path == prefix}
    project = _with_links(_project(settings, apart), data_trees, folders, settings.root)
    trees = [package_tree(), project]
    for folder in own:
        trees.append(make_tree(folder, _of_datasets(folder, tuple(map(file_part, names)))))
    for folder in weights:
        called = dict.fromkeys(one for name in names for one in _called(name, options))
        trees.append(make_tree(folder, _of_datasets(folder, tuple(called))))
    brought = {Path(file).resolve() for _, file in options.weight_files}
    for file in sorted(brought):
        trees.append(make_tree(file.parent, [(file.name, file)]))
    return tuple(tree for tree in (*trees, *data_trees) if tree.entries)


def _called(name: str, options: Options) -> Iterator[str]:
    """The names that a case's dataset has: its own one is that of its checkpoints' folder."""
    yield name
    with contextlib.suppress(Exception):  # a user's code: what it raises is the case's failure
        yield options.dataset(name).name


def _with_links(
    project: Tree, data: Sequence[Tree], folders: Collection[Path], given: Path
) -> Tree:
    """The project with what is sent apart at its place in it, as links.

    Its settings name data by their paths in it, and are read by processes of its own, too.

    Args:
        given: the project's folder as data are named in it; it may be a link.
    """
    root, own = Path(project.prefix), {one.path for one in project.entries}
    place_of = partial(_place_in, root, given.absolute())
    whole = [place for one in folders if root in (place := place_of(one)).parents]
    found: dict[str, SentFile] = {}
    for tree in data:
        prefix = Path(tree.prefix)
        files = ((place_of(prefix / one.path), one.path) for one in tree.entries)
        for place, inner in [(place_of(prefix), "")] if place_of(prefix) in whole else files:
            if root in place.parents and not any(one in place.parents for one in whole):
                name = place.relative_to(root).as_posix()
                found[name] = SentFile(name, 0, (), linked=(tree.digest, inner))
    entries = list(zip(project.entries, project.sources, strict=True))
    entries += [(one, root / name) for name, one in found.items() if name not in own]
    entries.sort(key=lambda pair: pair[0].path)
    return Tree(project.prefix, *zip(*entries, strict=True)) if entries else project


def _place_in(root: Path, given: Path, path: Path) -> Path:
    """Where a path of the project is in it, through linked folders, too; of others, where it is."""
    for folder in (given, root):
        if folder in path.parents and os.pardir not in (inner := path.relative_to(folder)).parts:
            return root / inner
    return path.parent.resolve() / path.name


def package_tree() -> Tree:
    """This qreg, with the shipped checkpoints where a wheel has them."""
    package = Path(qreg.__file__).resolve().parent
    files = dict(_below(package, "qreg/"))
    shipped = shipped_folder() / "checkpoints"
    if package not in shipped.parents:
        files |= dict(_below(shipped, "qreg/_baselines/checkpoints/"))
    return make_tree(package.parent, files.items())


def _project(settings: Settings, apart: Sequence[Path]) -> Tree:
    """The project's files, as git knows them, without what is sent apart."""
    root = settings.root.resolve()
    sources = dataset_sources(settings)
    data = (path for path, _ in _data(settings, [name for name, _ in sources], Options()))
    files = dict.fromkeys(_listed(root, {one.resolve() for one in (*apart, *data)}))
    for one in settings.definitions:
        if one.weights is not None and root in one.weights.absolute().parents:
            files[one.weights.absolute()] = None
        for name in (*one.files, one.factory):
            path = root / name.partition(":")[2]
            if path.is_file():
                files[path] = None
    kept = [path for path in files if not any(one in (path, *path.parents) for one in apart)]
    sized = sorted(((path.stat().st_size, path) for path in kept if path.is_file()), reverse=True)
    if (total := sum(size for size, _ in sized)) > _MOST:
        largest = ", ".join(f"{path} ({size >> 20} MB)" for size, path in sized[:3])
        raise QregError(
            f"the project {root} has {total >> 20} MB besides its data: {largest}",
            hint="all of it would be sent to each machine: let git ignore what no model reads",
        )
    return make_tree(root, ((path.relative_to(root).as_posix(), path) for _, path in sized))


def _listed(root: Path, apart: Collection[Path], within: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Files below a folder, as git knows them; those of linked folders and of submodules too.

    Not of one that has what is sent apart: it is a folder of data, of which no more is needed.
    """
    here = (*within, root.resolve())
    data = {folder for one in apart for folder in (one, *one.parents)}
    for path in _entries(root):
        if not path.is_dir():
            yield path
        elif path.resolve() not in (*here, *here[-1].parents, *data) and _is_code(path):
            yield from _listed(path, apart, here)


def _is_code(folder: Path) -> bool:
    """Whether it is neither an environment nor what is made of a project's files."""
    return folder.name not in _SKIPPED and not (folder / "pyvenv.cfg").exists()


def _entries(root: Path) -> Iterator[Path]:
    """What git lists, where a linked folder or a submodule is one; without git, the same."""
    command = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        found = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        found = None
    if found is not None and found.returncode == 0:
        yield from (root / os.fsdecode(name) for name in found.stdout.split(b"\0") if name)
        return
    for folder, folders, files in os.walk(root):
        folders[:] = [
            name for name in folders if not name.startswith(".") and _is_code(Path(folder, name))
        ]
        yield from (Path(folder, name) for name in files)
        yield from (path for name in folders if (path := Path(folder, name)).is_symlink())


def _of_datasets(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for name in names:
        yield from _below(folder / name, f"{name}/")


def _data(
    settings: Settings, names: Sequence[str], options: Options
) -> Iterator[tuple[Path, Path]]:
    """Files and folders of the datasets, each with the folder that it is found from."""
    use_project(settings)
    sources = dict(options.sources or dataset_sources(settings))
    defined = {one.name: one.source for one in settings.dataset_definitions}
    folder = data_folder(options.data_dir)
    for name in names:
        source = defined.get(name, sources.get(name, name))
        if source in DATASETS.names() or is_object_path(source):
            stored = get_dataset(source).stored_as if source in DATASETS.names() else ()
            yield from ((folder / one, folder) for one in stored if (folder / one).exists())
            continue
        path = Path(source).absolute()
        if path.exists():
            yield path, path if path.is_dir() else path.parent


def _by_prefix(data: Iterable[tuple[Path, Path]]) -> dict[Path, list[tuple[str, Path]]]:
    found: dict[Path, list[tuple[str, Path]]] = {}
    for path, prefix in data:
        inner = path.relative_to(prefix).as_posix()
        of_it = found.setdefault(prefix, [])
        if path.is_dir():
            of_it += _below(path, "" if inner == "." else f"{inner}/")
        else:
            sums = path.with_name(f"{path.name}.sha256")
            of_it += [(inner, path)]
            of_it += [(f"{inner}.sha256", sums)] if sums.exists() else []
    return found


def data_folder(chosen: Path | None) -> Path:
    """Where registered datasets are looked for."""
    named = chosen or os.environ.get("QREG_DATA_DIR")
    return Path(named).absolute() if named else cache_root().absolute()


def sent_options(options: Options) -> Options:
    """Options that name their folders, whatever the variables of the machine that reads them."""
    data, weights = data_folder(options.data_dir), options.folders[0]
    files = tuple((model, str(Path(file).resolve())) for model, file in options.weight_files)
    return replace(
        options, data_dir=data.resolve(), checkpoints=weights.resolve(), weight_files=files
    )


def case_options(settings: Settings, options: Options, cases: Iterable[Case]) -> Options:
    """Options to send with cases, in which datasets that are paths are named in whole."""
    found = sent_options(gate_options(settings, options))
    for name in dict.fromkeys(case.dataset for case in cases):
        if name not in dict(found.sources) and is_path(name):
            path = str(Path(name).resolve())
            found = replace(found, sources=(*found.sources, (name, path)))
    return found


def case_content(settings: Settings, options: Options, case: Case) -> dict[str, Any]:
    """What each piece of work on one case is sent; see `case_at`."""
    sent = case_options(settings, options, [case])
    return {
        "root": str(settings.root.resolve()),
        "case": list(astuple(case)),
        "options": sent.plain(),
        "checkpoint": _checkpoint(case, sent),
    }


def case_at(content: dict[str, Any], places: Places) -> tuple[Case, Options]:
    """The case and the options of `case_content`, where its piece runs; its threads are set.

    Raises:
        QregError: the checkpoint here is not the sender's.
    """
    use_project(settings_at(content["root"], places))
    options = options_at(content["options"], places)
    options.apply_threads()
    case = Case(*content["case"])
    if (found := _checkpoint(case, options)) != content["checkpoint"]:
        raise QregError(
            f"{case}: the checkpoint here is {found or 'missing'}, not {content['checkpoint']}",
            hint="do not train while it is measured; else this is a fault of qreg's",
        )
    return case, options


def _checkpoint(case: Case, options: Options) -> str:
    """The sha256 of the checkpoint that a case starts from; "" for none."""
    name = options.dataset(case.dataset).name
    with contextlib.suppress(MissingCheckpointError):
        path = find_checkpoint(options.folders, case.model, name, CheckpointKind.FP32)
        return recipe_of(path).sha256
    return ""


def options_at(plain: dict[str, Any], places: Places) -> Options:
    """Options of another machine, with the places of its folders here."""
    found = Options.of_plain(plain)
    sources, files = (
        tuple((name, _moved_text(one, places)) for name, one in pairs)
        for pairs in (found.sources, found.weight_files)
    )
    return replace(
        found,
        data_dir=places.path(found.data_dir) if found.data_dir else None,
        checkpoints=places.path(found.checkpoints) if found.checkpoints else None,
        sources=sources,
        weight_files=files,
    )


def _moved_text(text: str, places: Places) -> str:
    return str(places.path(text)) if Path(text).is_absolute() else text


def settings_at(root: str, places: Places) -> Settings:
    """The settings of the project whose folder another machine calls `root`."""
    here = places.path(root)
    found = read_settings(here / "pyproject.toml") or default_settings(here)

    def moved(value: Any) -> Any:
        if isinstance(value, Path):
            sent = os.path.normpath(Path(root, os.path.relpath(value, here)))
            return places.path(sent) if places.moved else value
        if isinstance(value, tuple):
            return tuple(map(moved, value))
        if is_dataclass(value) and not isinstance(value, type):
            given = {one.name: moved(getattr(value, one.name)) for one in fields(value)}
            return replace(value, **given)
        if isinstance(value, str) and Path(value).is_absolute():
            return str(moved(Path(value)))
        return value

    made: Settings = replace(moved(found), root=here)
    return made


def default_settings(root: Path) -> Settings:
    """Those of a folder without a table: everything that is registered."""
    from qreg.models import MODELS

    return Settings(root=root, models=MODELS.names(), datasets=DATASETS.names(), engines=("all",))
