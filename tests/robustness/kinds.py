"""Every kind of file that qreg reads: how one is made, changed, and read as a command reads it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from qreg.errors import QregError
from qreg.records.decode import MismatchError
from tests.robustness.changes import (
    WEIRD,
    anywhere,
    byte_changes,
    json_text,
    natures,
    raw,
    tree_changes,
)
from tests.unit.baselines import build

#: Of an error: more of a file is not read by anybody.
LONGEST_TEXT = 3000
Change = Any
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: the files of an unharmed example, by name.
        target: the one that is changed.
        changes: what is done to it: lists of changes, or another thing in its place.
        read: reads the example in a folder, as the commands do, and returns what it says.
        rewrite: the files after a change of the content of `target`, where more has to follow.
        signed: whether no change of it may pass: any other result is a silent acceptance.
        valid: whether another result is one that the file could have been meant to have.
    """

    name: str
    make: Callable[[], Files]
    target: str
    changes: st.SearchStrategy[Any]
    read: Callable[[Path], Any]
    rewrite: Callable[[Files, bytes], Files] | None = None
    signed: bool = False
    valid: Callable[[Any], bool] = lambda _: True

    def run(self, folder: Path, files: Files, change: Change, expected: str) -> tuple[str, str]:
        """The outcome of one change: "named", "same", "other", or "silent"."""
        try:
            put(folder, files)
            self._change(folder, files, change)
            found = self.read(folder)
        except (QregError, MismatchError) as error:
            said = str(error)
            readable = bool(said.strip()) and len(said) < LONGEST_TEXT
            return ("named", said) if readable else ("silent", f"an error of {len(said)}")
        if text(found) == expected:
            return "same", ""
        if self.signed or not self.valid(found):
            return "silent", f"{change}: {text(found)[:200]}"
        return "other", ""

    def _change(self, folder: Path, files: Files, change: Change) -> None:
        path = folder / self.target
        if not isinstance(change, list):
            change.at(path)
            return
        content = files[self.target]
        if hasattr(change[0], "other"):
            tree = json.loads(content)
            for one in change:
                tree = one.of(tree)
            content = json_text(tree)
        else:
            for one in change:
                content = one.of(content)
        if self.rewrite is None:
            path.write_bytes(content)
            return
        put(folder, self.rewrite(files, content))


def put(folder: Path, files: Files) -> None:
    """Write files into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def taken(folder: Path) -> Files:
    """The files of a folder, by name."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def text(value: Any) -> str:
    """A value, with arrays as digests; equal values have equal texts."""
    if is_dataclass(value) and not isinstance(value, type):
        inside = ", ".join(f"{f.name}={text(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({inside})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text(k)}: {text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(text, value))}]"
    if isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value).tobytes()
        return f"{value.dtype}{value.shape}{hashlib.sha256(content).hexdigest()[:12]}"
    return repr(value)


_bytes = st.lists(byte_changes, min_size=1, max_size=3)
_trees = st.lists(tree_changes, min_size=1, max_size=3)


def _or_another(changes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly changes of the content; now and then another thing in its place."""
    return st.one_of(changes, changes, changes, natures)


# --- baselines ---------------------------------------------------------------------------------


def _baseline(_: None = None) -> Files:
    from tempfile import TemporaryDirectory

    from qreg.baselines.store import Store

    with TemporaryDirectory() as folder:
        store, seen = Store(Path(folder)), build.images()
        store.write(build.baseline(build.snapshot(seen=seen)))
        scored = build.snapshot(
            seen=seen,
            environment=replace(build.ENVIRONMENT, threads=2),
            score=(score := build.score(seen)),
            predictions=score.predictions,
            correct=0,
            calibration=tuple(range(0, 128, 2)),
        )
        promise = build_promise()
        with contextlib.suppress(ValueError):  # codes of a task are no predicted classes
            store.write(build.baseline(scored))
        store.write_promise(promise)
        return {n: c for n, c in taken(Path(folder)).items() if not n.startswith(".locks")}


def build_promise() -> Any:
    from qreg.records.baseline import Promise

    logs = (0.9, 0.95, 1.0, 1.05)
    return Promise(build.CASE, build.ENVIRONMENT, 1, logs, (build.approval("promised"),))


_CASE_FILE = f"{build.CASE.dataset}/{build.CASE.model}/{build.CASE.method}@{build.CASE.engine}.json"


def _read_baseline(folder: Path) -> Any:
    """Listed, read, judged by and shown, as by `qreg baseline show` and the gate."""
    from qreg.baselines.applicable import choose, choose_promise
    from qreg.baselines.store import Store
    from qreg.checks.verdict import judge
    from qreg.cli import terminal
    from qreg.quantization import METHODS
    from qreg.report.baseline import baseline_parts

    store = Store(folder)
    cases, orphans = store.cases(), store.orphans()
    if not store.path(build.CASE).exists():
        raise QregError("no baseline")
    baselines, promises = store.read(build.CASE), store.promises(build.CASE)
    if baselines:
        for part in baseline_parts(baselines, promises):
            terminal.console().print(part)
        now, method = build.snapshot(), METHODS.info(build.CASE.method)
        chosen = choose(baselines, now.environment, method)
        assert chosen is not None
        judge(now, *chosen, method, alpha=0.01)
    choose_promise(promises, build.ENVIRONMENT)
    store.text(build.CASE)
    # in the order of their environments: that of the entries means nothing, and a merge changes it
    return cases, len(orphans), sorted(baselines, key=text), promises


def _signed_again(files: Files, content: bytes) -> Files:
    """The file with every entry's sha256 as it must be, as far as it still has entries."""
    from qreg.baselines.encoding import checksum

    try:
        tree = json.loads(content)
        for name in ("entries", "promises"):
            for one in tree[name]:
                one["sha256"] = checksum(build.CASE, one)
        content = json.dumps(tree).encode()
    except Exception:
        pass  # what cannot be signed is read as it is
    return {**files, _CASE_FILE: content}


def _arrays_signed_again(files: Files, content: bytes) -> Files:
    """A changed sidecar under the name of its content, and the entry that names it."""
    from qreg.baselines.schema import sidecar_name

    digest = hashlib.sha256(content).hexdigest()
    old = _arrays_name()
    tree = json.loads(files[_CASE_FILE])
    for one in tree["entries"]:
        if one["sidecars"]["arrays"]["file"] == Path(old).name:
            one["sidecars"]["arrays"] = {"file": sidecar_name(digest), "sha256": digest}
    name = f"{Path(old).parent}/{sidecar_name(digest)}"
    signed = _signed_again(files, json.dumps(tree).encode())
    return {**signed, name: content}


def _arrays_name() -> str:
    tree = json.loads(_baseline()[_CASE_FILE])
    return f"{build.CASE.dataset}/sidecars/{tree['entries'][0]['sidecars']['arrays']['file']}"


# --- checkpoints and recipes -------------------------------------------------------------------

_CHECKPOINT = "data/net/fp32.safetensors"


def _net() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def _checkpoint() -> Files:
    from tempfile import TemporaryDirectory

    from qreg.training.checkpoints import save_checkpoint
    from qreg.training.recipe import default_recipe

    with TemporaryDirectory() as folder:
        recipe = replace(default_recipe("net", "data", "fp32"), test_correct=3, test_total=4)
        save_checkpoint(Path(folder, _CHECKPOINT), _net(), recipe)
        return taken(Path(folder))


def _read_checkpoint(folder: Path) -> Any:
    from qreg.training.checkpoints import load_checkpoint

    model, recipe = load_checkpoint(folder / _CHECKPOINT, _net)
    return {name: one.numpy() for name, one in model.state_dict().items()}, recipe


def _read_recipe(folder: Path) -> Any:
    from qreg.cli import terminal
    from qreg.report.checkpoints import recipes_table
    from qreg.training.checkpoints import recipe_of

    recipe = recipe_of(folder / _CHECKPOINT)
    terminal.console().print(recipes_table([recipe], title="recipes"))
    return recipe


def _recipe_signed_again(files: Files, content: bytes) -> Files:
    name = str(Path(_CHECKPOINT).with_suffix(".json"))
    recipe = json.loads(files[name]) | {"sha256": hashlib.sha256(content).hexdigest()}
    return {**files, _CHECKPOINT: content, name: json.dumps(recipe).encode()}


def _finite(found: Any) -> bool:
    """Whether the weights of a checkpoint are numbers."""
    return all(np.isfinite(one).all() for one in found[0].values() if one.ndim > 1)


def _sane(recipe: Any) -> bool:
    return recipe.learning_rate > 0 and 0 <= recipe.momentum <= 1 and recipe.epochs > 0


def _weights() -> Files:
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(_net().state_dict(), buffer)
    return {"weights.pt": buffer.getvalue()}


def _safetensors() -> Files:
    from safetensors.torch import save

    return {"weights.safetensors": save(_net().state_dict())}


def _read_weights(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from qreg.models.weights import load_weights

        model = _net()
        load_weights(model, folder / name, name="net")
        return {key: one.numpy() for key, one in model.state_dict().items()}

    return read


# --- data --------------------------------------------------------------------------------------


def _npz(**arrays: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _image_arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {"classes": np.array(["red", "green"]), "mean": np.full(3, 0.5)}
    made["std"] = np.full(3, 0.25)
    for split, count in (("train", 6), ("test", 5)):
        made[f"{split}_images"] = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
        made[f"{split}_labels"] = np.arange(count) % 2
    made["test_index"] = np.array([4, 2, 9, 7, 5])
    return made


def _input_arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {}
    for split, count in (("train", 6), ("test", 5)):
        made[f"{split}_inputs.a"] = rng.normal(size=(count, 4)).astype("f4")
        made[f"{split}_inputs.b"] = rng.integers(0, 9, (count, 2))
        made[f"{split}_targets"] = np.arange(count) % 2
    return made


def _read_data(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from qreg.data import load_split, open_path

        os.environ["QREG_CACHE_DIR"] = str(folder / ".cache")
        dataset, found = open_path(folder / name), []
        for split in ("test", "train"):
            samples = load_split(dataset, split)  # type: ignore[arg-type]
            batch = samples.read(np.arange(min(2, len(samples))))
            found.append((len(samples), samples.index, samples.digests(), text_of(batch.inputs)))
        return dataset.classes, dataset.mean, dataset.std, found

    return read


def text_of(inputs: Any) -> str:
    """A model's inputs."""
    if isinstance(inputs, dict):
        return text({name: one.numpy() for name, one in inputs.items()})
    return text(inputs.numpy())


#: Arrays in the place of others, each a function of the one that is there.
ARRAYS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("0-d", lambda a: np.array(a.flat[0])),
    ("flat", lambda a: a.reshape(-1)),
    ("one more dimension", lambda a: a[None]),
    ("transposed", lambda a: a.T),
    ("float", lambda a: a.astype("f8") if a.dtype.kind in "iuf" else np.zeros(len(a))),
    ("NaN", lambda a: np.full(a.shape, np.nan)),
    ("infinite", lambda a: np.full(a.shape, np.inf)),
    ("zeros", lambda a: np.zeros(a.shape, a.dtype if a.dtype.kind != "U" else "i8")),
    ("negative", lambda a: np.full(a.shape, -1)),
    ("10^8", lambda a: np.full(a.shape, 10**8)),
    ("2^31", lambda a: np.full(a.shape, 1 << 31)),
    ("2^63", lambda a: np.full(a.shape, (1 << 64) - 1, np.uint64)),
    ("text", lambda a: np.full(a.shape, "x")),
    ("bytes", lambda a: np.full(a.shape, b"x")),
    ("a struct", lambda a: np.zeros(a.shape, [("a", "i4"), ("b", "f4")])),
    ("times", lambda a: np.zeros(a.shape, "M8[s]")),
    ("complex", lambda a: np.zeros(a.shape, "c8")),
    ("bool", lambda a: np.zeros(a.shape, bool)),
    ("half", lambda a: np.zeros(a.shape, "f2")),
    ("long double", lambda a: np.zeros(a.shape, "g")),
    ("other byte order", lambda a: a.astype(a.dtype.newbyteorder(">"))),
    ("Fortran order", lambda a: np.asfortranarray(a)),
    ("shorter", lambda a: a[:-1]),
    ("longer", lambda a: np.concatenate([a, a])),
    ("empty", lambda a: a[:0]),
    ("reversed", lambda a: a[::-1]),
    ("twice the same", lambda a: np.repeat(a[:1], len(a), axis=0)),
    ("objects", lambda a: np.array([None] * len(a), dtype=object)),
    ("gone", lambda a: None),
)


@dataclass(frozen=True)
class ArrayChange:
    """At an array of the archive, counted in its order: one of `ARRAYS` in its place."""

    at: int
    how: int
    then: str

    def at_(self, arrays: dict[str, Any]) -> bytes:
        names = list(arrays)
        name = names[self.at % len(names)]
        made = ARRAYS[self.how % len(ARRAYS)][1](arrays[name])
        rest = {key: one for key, one in arrays.items() if key != name}
        content = _npz(**(rest if made is None else {**rest, name: made}))
        if self.then == "encrypted":
            return content.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01")
        if self.then == "an .npy":
            import io

            buffer = io.BytesIO()
            np.save(buffer, arrays[name], allow_pickle=False)
            return buffer.getvalue()
        return content


def _array_kind(name: str, file: str, arrays: Callable[[], dict[str, Any]]) -> Kind:
    @dataclass(frozen=True)
    class Changed:
        change: ArrayChange

        def at(self, path: Path) -> None:
            path.write_bytes(self.change.at_(arrays()))

    made = st.builds(
        ArrayChange,
        at=anywhere,
        how=anywhere,
        then=st.sampled_from(("", "", "", "", "encrypted", "an .npy")),
    )
    return Kind(
        name, lambda: {file: _npz(**arrays())}, file, made.map(Changed), _read_data(file),
        valid=_valid_data,
    )  # fmt: skip


def _valid_data(found: Any) -> bool:
    """Whether a dataset keeps the contract: classes, finite mean and std, ascending indices."""
    _, mean, std, splits = found
    ascending = all((np.diff(index) > 0).all() and len(index) == n for n, index, *_ in splits)
    return bool(np.isfinite((*mean, *std)).all() and min(std) > 0 and ascending and splits)


def _pictures(ending: str) -> Callable[[], Files]:
    def make() -> Files:
        import io

        from PIL import Image

        rng, files = np.random.default_rng(0), {}
        for number, label in enumerate(("train/a", "test/a", "train/b", "test/b")):
            buffer = io.BytesIO()
            pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(buffer, format=ending)
            files[f"photos/{label}/{number}.{ending.lower()}"] = buffer.getvalue()
        return files

    return make


# --- the cache ---------------------------------------------------------------------------------


def _cached(target: str) -> Callable[[], Files]:
    def make() -> Files:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            put(Path(folder), _pictures("PNG")())
            _read_data("photos")(Path(folder))
            (entry,) = Path(folder, ".cache").glob("decoded/*test*")
            # under the key of the folder in which it is read there is none, so it is read itself
            return {f"entry/{path.name}": path.read_bytes() for path in entry.iterdir()}

    return make


def _read_entry(folder: Path) -> Any:
    """The entry, or what is built where it is damaged; the same either way."""
    from qreg.data.cache import _entry  # the only reader of entries

    os.environ["QREG_CACHE_DIR"] = str(folder / ".cache")
    place = folder / ".cache" / "decoded" / "key-v2"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / "entry").rename(place)
        place.chmod(0o700)
    files = _cached_files()

    def write(half: Path) -> tuple[str, ...]:
        (half / "images.npy").write_bytes(files["entry/images.npy"])
        return ()

    entry = _entry("key", write)
    assert entry is not None
    return {name: np.array(one) for name, one in entry.arrays.items()}


_CACHED: dict[str, bytes] = {}


def _cached_files() -> Files:
    if not _CACHED:
        _CACHED.update(_cached("images.npy")())
    return _CACHED


# --- history -----------------------------------------------------------------------------------


def _entries() -> Any:
    from qreg.speed.records import HistoryEntry

    return [
        HistoryEntry(
            time=f"2026-11-{day + 1:02d}T00:00:00+00:00",
            case=build.CASE,
            commit=build.hexadecimal(day, digits=40),
            reference="abc",
            environment=build.ENVIRONMENT,
            change=0.01 * (day > 4),
            low=-0.01,
            high=0.02,
            pairs=16,
            candidate_ms=1.5,
            batch=1,
        )
        for day in range(9)
    ]


def _history(name: str) -> Callable[[], Files]:
    def make() -> Files:
        from tempfile import TemporaryDirectory

        from qreg.speed.history.store import append

        with TemporaryDirectory() as folder:
            append(Path(folder, name), _entries())
            return {name: Path(folder, name).read_bytes()}

    return make


def _read_history(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from qreg.cli import main
        from qreg.speed.history.store import read as read_store

        entries, damaged = read_store(folder / name)
        os.chdir(folder)
        status = main(["speed", "history", "--store", name])
        if status not in (0, 1, 2):
            raise AssertionError(f"status {status}")
        if damaged or not entries:
            raise QregError(f"{len(damaged)} lines are damaged, and said")
        return entries

    return read


#: Databases that a stranger could hand over: what makes each of them harmful is in its schema.
SCHEMAS = (
    "CREATE TABLE nights (line TEXT)",
    "CREATE TABLE nights (number INTEGER PRIMARY KEY, line BLOB)",
    "CREATE TABLE nights (number TEXT, line TEXT); INSERT INTO nights VALUES ('x', '{}')",
    "CREATE TABLE nights (number, line); INSERT INTO nights VALUES (NULL, NULL)",
    "CREATE TABLE nights (number, line); INSERT INTO nights VALUES (1, zeroblob(900000))",
    "CREATE TABLE nights (number, line); INSERT INTO nights VALUES (9e999, 3)",
    "CREATE VIEW nights AS WITH RECURSIVE x(number, line) AS (SELECT 1, 'a' UNION ALL "
    "SELECT number + 1, line FROM x) SELECT number, line FROM x",
    "CREATE TABLE nights (number INTEGER PRIMARY KEY, line TEXT AS (hex(zeroblob(400000000))))",
    "CREATE TABLE nights (number INTEGER, line TEXT GENERATED ALWAYS AS (abs(number)))",
    "CREATE TABLE other (x)",
    "CREATE TABLE nights (number INTEGER PRIMARY KEY, line TEXT); "
    "INSERT INTO nights (line) VALUES (CAST(x'ff00fe' AS TEXT))",
    "CREATE TABLE nights (number INTEGER PRIMARY KEY, line TEXT); "
    "INSERT INTO nights WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x LIMIT "
    "200000) SELECT n, 'damaged' FROM x",
)


@dataclass(frozen=True)
class Schema:
    """A database of one of `SCHEMAS` in the place of the history."""

    number: int
    user_version: int

    def at(self, path: Path) -> None:
        path.unlink()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {self.user_version}")
            connection.executescript(SCHEMAS[self.number])


# --- the project's table -----------------------------------------------------------------------

_TABLE = {
    "models": ["simple_cnn", {"factory": "nets:net", "width": 32, "name": "wide"}],
    "datasets": ["shapes10", {"source": "photos", "name": "p", "mean": [0.5, 0.5, 0.5]}],
    "methods": ["fp32", "static"],
    "engines": ["x86"],
    "leave-out": ["*/x/*"],
    "baselines": "kept",
    "calibration": {"size": 12, "draw": "random", "seed": 3},
    "samples": {"size": 100},
}


def _toml(value: Any) -> str:
    value = raw(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return "''" if value is None else json.dumps(value)


def _table_text(tree: Any) -> bytes:
    body = "\n".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in tree.items())
    return f"[tool.qreg]\n{body}\n".encode(errors="surrogatepass")


@dataclass(frozen=True)
class TableChange:
    """Changes of the table's tree, written as TOML."""

    changes: tuple[Any, ...]

    def at(self, path: Path) -> None:
        tree = json.loads(json.dumps(_TABLE))
        for one in self.changes:
            tree = one.of(tree)
        path.write_bytes(_table_text(tree if isinstance(tree, dict) else {"models": tree}))


def _read_table(folder: Path) -> Any:
    from qreg.selection import gate_options, select_cases
    from qreg.settings import find_settings

    settings = find_settings(folder)
    if settings is None:
        raise QregError("no table")
    return str(select_cases(settings)), str(gate_options(settings).sources)


# --- files of models ---


def _model_file(ending: str) -> Callable[[], Files]:
    def make() -> Files:
        import io
        import warnings

        import torch

        model, sample = _net().eval(), torch.zeros(2, 3, 4, 4)
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if ending == "pt":
                torch.jit.save(torch.jit.trace(model, sample), buffer)
            elif ending == "pt2":
                batch = torch.export.Dim("batch", min=1, max=64)
                program = torch.export.export(model, (sample,), dynamic_shapes=({0: batch},))
                torch.export.save(program, buffer)
            else:
                return {f"m.{ending}": _onnx()}
        return {f"m.{ending}": buffer.getvalue()}

    return make


def _onnx() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(4, 2)).astype("f4")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="/fc/MatMul")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    made: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return made


def _onnx_with_data() -> Files:
    """An ONNX file whose weight is external data."""
    import onnx
    from onnx.external_data_helper import set_external_data

    model = onnx.load_model_from_string(_onnx())
    (weight,) = model.graph.initializer
    data = bytes(weight.raw_data)
    set_external_data(weight, "m.data", offset=0, length=len(data))
    weight.ClearField("raw_data")
    return {"m.onnx": model.SerializeToString(), "m.data": data}


def _read_model_file(ending: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        import torch

        from qreg.artifacts.load import file_of, load_file
        from qreg.artifacts.names import search_in

        search_in(folder)
        model = load_file(f"file:m.{ending}")
        inputs = torch.ones(2, 4) if ending == "onnx" else torch.ones(2, 3, 4, 4)
        try:
            with torch.no_grad():
                outputs = model(inputs).numpy()
        except QregError:
            raise
        except Exception as error:  # a model that fails on its inputs is an ERROR of its case
            raise QregError(f"it fails: {type(error).__name__}") from error
        return outputs, file_of(model) is not None

    return read


# --- what processes write ----------------------------------------------------------------------


def _verdict() -> Files:
    from qreg.baselines.applicable import choose
    from qreg.checks.verdict import judge
    from qreg.quantization import METHODS
    from qreg.records.decode import plain
    from qreg.records.verdict import CaseResult

    method, worse = METHODS.info("static"), build.snapshot(wrong=30)
    chosen = choose([build.baseline()], worse.environment, method)
    assert chosen is not None
    verdict = judge(worse, *chosen, method, alpha=0.01)
    return {"verdict.json": json.dumps(plain(CaseResult(verdict))).encode()}


def _read_verdict(folder: Path) -> Any:
    """As the reporting process reads a judging one's, and all that is printed of it."""
    from qreg.files import read_regular
    from qreg.gate.report import short_lines, verdict_lines, verdict_record
    from qreg.records.decode import decoder, parse
    from qreg.records.verdict import CaseResult

    try:
        content = read_regular(folder / "verdict.json", most=1 << 26)
    except OSError as error:
        raise QregError(str(error)) from error
    found = decoder(CaseResult)(parse(content))
    if found.verdict:
        json.dumps(verdict_record(found.verdict))
        (*short_lines(found.verdict), *verdict_lines(found.verdict, traceback=True))
    return found


def _side() -> Files:
    from tempfile import TemporaryDirectory

    from safetensors.numpy import save

    from qreg.baselines.store import Store

    with TemporaryDirectory() as folder:
        Store(Path(folder, "store")).write(build.baseline())
        files = {n: c for n, c in taken(Path(folder)).items() if ".locks" not in n}
    seen = {"name": "a", "kind": "b", "inputs": "c", "scales": [0.5], "zero_points": [0]}
    files["000.make.json"] = json.dumps({"seen": [seen], "written": {"state dict": ""}}).encode()
    ran = dict.fromkeys(("control", "carried", "state dict", "TorchScript", "exported program"), "")
    files["000.cross.json"] = json.dumps(ran).encode()
    arrays = {"0000 conv": np.zeros((2, 3), "f4"), "logits": np.ones((2, 4), "f4")}
    for name in ("own", "control", "carried"):
        files[f"000.{name}.safetensors"] = save(arrays)
    for name in ("state.pt", "script.pt", "program.pt2"):
        files[f"000.loaded.{name}.safetensors"] = save(arrays)
    described = {
        "conv.weight": {"tensor": {"dtype": "qint8", "scale": 0.5, "zero_point": 0}},
        "conv.bias": {"tensor": None},
        "fc._packed_params._packed_params": {"parts": [{"tensor": None}, {"value": None}]},
    }
    state = {name: np.zeros(3, "f4") for name in ("conv.weight", "conv.bias")}
    state["fc._packed_params._packed_params.0"] = np.zeros(3, "f4")
    files["000.state.safetensors"] = save(
        state, metadata={"state": json.dumps(described), "versions": "{}"}
    )
    files["names.json"] = json.dumps({"probe.0": {"name": "p", "used_by": ["static"]}}).encode()
    answer = {"outcome": "works", "signature": "(x)", "warnings": ["w"]}
    files["probe.0.json"] = json.dumps(answer).encode()
    return files


def _read_side(folder: Path) -> Any:
    from qreg.upgrade.case_files import CaseFiles
    from qreg.upgrade.reading import read_answers, read_cross_run, read_side_result
    from qreg.upgrade.records import AnswerKind

    files = CaseFiles(folder, 0)
    result = read_side_result(build.CASE, files)
    if result.failure:
        raise QregError(result.failure)
    return result, read_cross_run(files), read_answers(folder, AnswerKind.PROBE)


def _options() -> Files:
    from qreg.measure.options import Options

    given = Options(sources=(("a", "b.npz"),), threads=1, batch=4)
    return {"options.json": json.dumps(given.plain()).encode()}


def _read_options(folder: Path) -> Any:
    from qreg.files import read_regular
    from qreg.measure.options import Options
    from qreg.records.decode import parse

    try:
        content = read_regular(folder / "options.json", most=1 << 20)
    except OSError as error:
        raise QregError(str(error)) from error
    return Options.of_plain(parse(content))


def _file(name: str, make: Callable[[], Files], target: str, changes: Any, read: Any, **more: Any):
    return Kind(name, make, target, _or_another(changes), read, **more)


def _of(make: Callable[[], Files], ending: str) -> str:
    return next(name for name in make() if name.endswith(ending))


def _endings() -> tuple[str, ...]:
    """Of models' files that can be made and read here."""
    from importlib.util import find_spec

    both = find_spec("onnx") and find_spec("onnxruntime")
    return ("pt", "pt2", *(("onnx",) if both else ()))


def kinds() -> tuple[Kind, ...]:
    """All of them."""
    upgrade = [
        _file(f"upgrade: {name}", _side, name, changes, _read_side)
        for name, changes in (
            ("000.make.json", _trees),
            ("000.cross.json", _trees),
            ("names.json", _trees),
            ("probe.0.json", _trees),
            ("000.state.safetensors", _bytes),
            ("000.own.safetensors", _bytes),
        )
    ]
    pictures = [
        _file(
            f"image: {ending}", _pictures(ending), _of(_pictures(ending), f"1.{ending.lower()}"),
            _bytes, _read_data("photos"), valid=_valid_data,
        )
        for ending in ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")
    ]  # fmt: skip
    from tests.robustness.more_kinds import more_kinds

    recipe = str(Path(_CHECKPOINT).with_suffix(".json"))
    npz = _npz(**_image_arrays())
    digest = f"{hashlib.sha256(npz).hexdigest()}  data.npz\n".encode()
    return (
        _file("baseline: bytes", _baseline, _CASE_FILE, _bytes, _read_baseline, signed=True),
        _file("baseline: keys", _baseline, _CASE_FILE, _trees, _read_baseline, signed=True),
        Kind(
            "baseline: keys, signed again", _baseline, _CASE_FILE, _trees, _read_baseline,
            rewrite=_signed_again,
        ),
        _file("sidecar", _baseline, _arrays_name(), _bytes, _read_baseline, signed=True),
        Kind(
            "sidecar, signed again", _baseline, _arrays_name(), _bytes, _read_baseline,
            rewrite=_arrays_signed_again,
        ),
        _file("checkpoint", _checkpoint, _CHECKPOINT, _bytes, _read_checkpoint, signed=True),
        Kind(
            "checkpoint, signed again", _checkpoint, _CHECKPOINT, _bytes, _read_checkpoint,
            rewrite=_recipe_signed_again, valid=_finite,
        ),
        _file("recipe: bytes", _checkpoint, recipe, _bytes, _read_recipe, valid=_sane),
        _file("recipe: keys", _checkpoint, recipe, _trees, _read_recipe, valid=_sane),
        _file("weights: state dict", _weights, "weights.pt", _bytes, _read_weights("weights.pt")),
        _file(
            "weights: safetensors", _safetensors, "weights.safetensors", _bytes,
            _read_weights("weights.safetensors"),
        ),
        _file(
            "npz with a sha256", lambda: {"data.npz": npz, "data.npz.sha256": digest}, "data.npz",
            _bytes, _read_data("data.npz"), signed=True,
        ),
        _file(
            "npz: its sha256", lambda: {"data.npz": npz, "data.npz.sha256": digest},
            "data.npz.sha256", _bytes, _read_data("data.npz"),
        ),
        _file(
            "npz: bytes", lambda: {"data.npz": npz}, "data.npz", _bytes, _read_data("data.npz"),
            valid=_valid_data,
        ),
        _array_kind("npz: images", "data.npz", _image_arrays),
        _array_kind("npz: inputs", "data.npz", _input_arrays),
        *pictures,
        _file("cache: arrays", _cached_files, "entry/images.npy", _bytes, _read_entry, signed=True),
        _file(
            "cache: meta.json", _cached_files, "entry/meta.json", _trees, _read_entry, signed=True
        ),
        _file("history: lines", _history("h.jsonl"), "h.jsonl", _bytes, _read_history("h.jsonl")),
        _file("history: SQLite", _history("h.db"), "h.db", _bytes, _read_history("h.db")),
        Kind(
            "history: SQL schemas", _history("h.db"), "h.db",
            st.builds(
                Schema, number=st.integers(0, len(SCHEMAS) - 1), user_version=st.integers(0, 99)
            ),
            _read_history("h.db"),
        ),
        _file(
            "pyproject: bytes", lambda: {"pyproject.toml": _table_text(_TABLE)}, "pyproject.toml",
            _bytes, _read_table,
        ),
        Kind(
            "pyproject: values", lambda: {"pyproject.toml": _table_text(_TABLE)}, "pyproject.toml",
            st.lists(tree_changes, min_size=1, max_size=3).map(tuple).map(TableChange), _read_table,
        ),
        _file("JSON of a verdict", _verdict, "verdict.json", _trees, _read_verdict),
        _file("JSON of options", _options, "options.json", _trees, _read_options),
        *upgrade,
        *(
            _file(f"model: .{one}", _model_file(one), f"m.{one}", _bytes, _read_model_file(one))
            for one in _endings()
        ),
        *(
            _file(f"onnx: {what}", _onnx_with_data, name, _bytes, _read_model_file("onnx"))
            for what, name in (("external data", "m.data"), ("references to data", "m.onnx"))
            if "onnx" in _endings()
        ),
        *more_kinds(),
    )  # fmt: skip


assert WEIRD
