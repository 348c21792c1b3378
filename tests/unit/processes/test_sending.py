"""What another machine needs is made there by content, and pieces run in it: without a cluster."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qreg.data.draw import Draw
from qreg.errors import QregError
from qreg.measure.options import Options
from qreg.models import build_model
from qreg.models.source import ModelSource
from qreg.processes import on_node, sending
from qreg.processes.executor import HERE, Places
from qreg.processes.sending import Tree, folder_tree, options_at, settings_at, trees_of
from qreg.records.case import Case
from qreg.records.method import CheckpointKind
from qreg.selection import use_project
from qreg.settings import read_settings
from qreg.training.checkpoints import checkpoint_path, save_checkpoint
from qreg.training.recipe import Recipe

_TASK = """
import os, time
from pathlib import Path

def read(content, places):
    return {"text": places.path(content["file"]).read_text(), "at": os.getcwd()}

def environment(content, places):
    return {name: os.environ.get(name) for name in ("MINE", "TAKEN", "FOLDER")}

def crash(content, places):
    time.sleep(1)  # what was found before has come
    os.kill(os.getppid(), 9)
    time.sleep(60)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "inner").mkdir(parents=True)
    (folder / "tasks_of_test.py").write_text(_TASK)
    (folder / "inner" / "a.txt").write_text("text")
    return folder


def _job(trees: Sequence[Tree], folder: Path, *tasks: str, sent: bool = True) -> dict[str, Any]:
    content = json.dumps({"file": str(folder / "inner" / "a.txt")})
    start: dict[str, Any] = {"folder": str(folder), "paths": [trees[0].prefix], "imports": []}
    start |= {"threads": 1, "variables": {}}
    parts = [part for tree in trees for e in tree.entries for part in e.parts]
    return {
        "trees": [[tree.prefix, tree.digest] for tree in trees],
        "start": start,
        "sent": parts if sent else [],
        "pieces": [
            {"name": task, "task": f"tasks_of_test:{task}", "content": content, "group": "g"}
            for task in tasks
        ],
    }


def _work(job: dict[str, Any], trees: Sequence[Tree]) -> list[dict[str, Any]]:
    asked: list[str] = []

    def fetch(digests: list[str]) -> Iterator[tuple[str, bytes]]:
        asked.extend(digests)
        for tree in trees:
            for number, entry in enumerate(tree.entries):
                for part, digest in enumerate(entry.parts):
                    if digest in digests:
                        yield digest, tree.read(number, part)

    try:
        return list(on_node.work(job, {tree.digest: tree.listing for tree in trees}, fetch))
    finally:
        on_node.close()


def test_folders_are_made_from_what_lacks_and_pieces_run_in_them(
    project: Path, own_cache: Path
) -> None:
    trees = [sending.package_tree(), folder_tree(project)]
    first = _work(_job(trees, project, "read", sent=False), trees)
    assert set(first[0]) == {"lacks"}
    assert len(first) == 1
    fetched, answer = _work(_job(trees, project, "read"), trees)
    assert fetched["fetched"] > 1 << 20
    # as the sender calls it, although the process was in a folder of the cache
    assert answer["result"] == {"text": "text", "at": str(project)}
    assert list((own_cache / "nodes" / "trees").glob("*/inner/a.txt"))

    (project / "inner" / "a.txt").write_text("other")
    trees = [trees[0], folder_tree(project)]
    assert [
        len(one) for one in _work(_job(trees, project, "read", sent=False), trees)[0].values()
    ] == [1]
    fetched, answer = _work(_job(trees, project, "read"), trees)
    assert fetched["fetched"] == len("other")
    assert answer["result"]["text"] == "other"


@pytest.mark.slow
def test_a_piece_that_ends_the_process_of_the_work_is_said(project: Path, own_cache: Path) -> None:
    trees = [sending.package_tree(), folder_tree(project)]
    answers = _work(_job(trees, project, "read", "crash", "read"), trees)
    assert [next(iter(one)) for one in answers] == ["fetched", "name", "ended"]


def test_a_process_that_cannot_start_says_why(project: Path, own_cache: Path) -> None:
    trees = [sending.package_tree(), folder_tree(project)]
    job = _job(trees, project, "read")
    job["start"]["imports"] = ["no_such_module"]
    with pytest.raises(RuntimeError, match="No module named 'no_such_module'"):
        _work(job, trees)


def test_what_leads_out_of_its_folder_or_is_something_else_is_refused(
    project: Path, own_cache: Path
) -> None:
    tree = folder_tree(project)
    listing = [["../out.txt", *tree.listing[0][1:]]]

    def fetch(digests: list[str]) -> Iterator[tuple[str, bytes]]:
        for digest in digests:
            yield digest, tree.read(0, 0)

    def wrong(digests: list[str]) -> Iterator[tuple[str, bytes]]:
        for digest in digests:
            yield digest, b"something else"

    own_cache.mkdir()
    with pytest.raises(ValueError, match="leads out"):
        on_node._tree(own_cache, "0" * 32, listing, fetch)
    assert not (own_cache / "out.txt").exists()
    with pytest.raises(ValueError, match="something else"):
        on_node._tree(own_cache / "x", tree.digest, tree.listing, wrong)


def test_large_files_travel_in_parts(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PART", 1 << 10)
    content = np.random.default_rng(0).bytes(2500)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "large.bin").write_bytes(content)
    tree = folder_tree(tmp_path / "data")
    assert len(tree.entries[0].parts) == 3

    def fetch(digests: list[str]) -> Iterator[tuple[str, bytes]]:
        for part, digest in enumerate(tree.entries[0].parts):
            if digest in digests:
                yield digest, tree.read(0, part)

    own_cache.mkdir()
    folder, count = on_node._tree(own_cache, tree.digest, tree.listing, fetch)
    assert (folder / "large.bin").read_bytes() == content
    assert count == 2500
    (tmp_path / "data" / "large.bin").write_bytes(content[::-1])
    with pytest.raises(QregError, match="changed while it was sent"):
        tree.read(0, 0)


def test_variables_of_the_sender_are_those_of_the_pieces(
    project: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = [sending.package_tree(), folder_tree(project)]
    job = _job(trees, project, "environment")
    for name in ("MINE", "TAKEN"):
        monkeypatch.setenv(name, "of the machine")
    monkeypatch.setenv("FOLDER", str(project))
    for value in ("2", "3"):
        job["start"]["variables"] = {"MINE": value, "TAKEN": None, "FOLDER": None}
        expected = {"MINE": value, "TAKEN": None, "FOLDER": str(project)}
        assert _work(job, trees)[1]["result"] == expected


_TEXT = hashlib.sha256(b"text").hexdigest()


def test_what_a_piece_changed_in_its_folder_is_put_as_it_was(
    project: Path, own_cache: Path
) -> None:
    trees = [sending.package_tree(), folder_tree(project)]
    job = _job(trees, project, "read")
    assert _work(job, trees)[1]["result"]["text"] == "text"
    (kept,) = (own_cache / "nodes" / "trees").glob("*/inner/a.txt")
    assert _work(job, trees)[0] == {"fetched": 0}

    kept.write_text("TEXT")  # as long as before
    assert _work(job, trees)[1]["result"]["text"] == "text"
    kept.unlink()
    kept.mkdir()
    assert _work(job, trees)[1]["result"]["text"] == "text"
    kept.unlink()
    kept.symlink_to(project / "b.txt")
    assert _work(job, trees)[1]["result"]["text"] == "text"

    kept.unlink()
    part = own_cache / "nodes" / "parts" / _TEXT[:2]
    shutil.rmtree(part)
    lacks = _work(_job(trees, project, "read", sent=False), trees)
    assert lacks == [{"lacks": [_TEXT]}]
    assert _work(job, trees)[0] == {"fetched": len("text")}
    assert kept.read_text() == "text"


_TABLE = """
[tool.qreg]
models = [{ factory = "nets:net", name = "net", weights = "../weights/net.safetensors" }]
datasets = [{ source = "../data/colours.npz", name = "colours", samples = { size = 20 } }]
baselines = "kept"
data-dir = "/data/sets"
"""


def test_a_project_is_read_where_it_was_put(tmp_path: Path) -> None:
    sent, here = tmp_path / "sent", tmp_path / "here"
    for folder in (sent / "project", here / "tree0"):
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(_TABLE)
    places = Places(
        (
            (str(sent / "project"), str(here / "tree0")),
            (str(sent / "data"), str(here / "tree1")),
            (str(sent / "weights"), str(here / "tree2")),
            ("/data/sets", str(here / "tree3")),
        )
    )
    found = settings_at(str(sent / "project"), places)
    assert found.root == here / "tree0"
    assert found.definitions == (
        ModelSource("net", "nets:net", weights=here / "tree2" / "net.safetensors"),
    )
    assert found.dataset_definitions[0].source == str(here / "tree1" / "colours.npz")
    assert found.dataset_definitions[0].samples == Draw(20)
    assert (found.baselines, found.data_dir) == (here / "tree0" / "kept", here / "tree3")
    as_before = settings_at(str(sent / "project"), Places())
    assert as_before == read_settings(sent / "project" / "pyproject.toml")


def test_options_name_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QREG_DATA_DIR", str(tmp_path / "sets"))
    sent = sending.sent_options(Options(threads=1, sources=(("x", str(tmp_path / "x.npz")),)))
    assert sent.data_dir == tmp_path / "sets"
    places = Places(((str(tmp_path), "/elsewhere"),))
    found = options_at(sent.plain(), places)
    assert str(found.data_dir) == "/elsewhere/sets"
    assert found.sources == (("x", "/elsewhere/x.npz"),)


def test_data_that_are_a_path_are_named_in_whole_and_names_come_first(
    tmp_path: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    os.link(colours, tmp_path / "data" / "own.npz")
    (tmp_path / "shapes10").mkdir()  # of the working folder, beside the registered dataset
    (tmp_path / "mine").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.qreg]\nmodels = ["simple_cnn"]\n'
        'datasets = [{ source = "data/own.npz", name = "mine" }]\n'
    )
    settings = read_settings(tmp_path / "pyproject.toml")
    assert settings is not None
    monkeypatch.chdir(tmp_path)
    use_project(settings)
    named = ("shapes10", "mine", "data/own.npz")
    cases = [Case(name, "simple_cnn", "dynamic", "x86") for name in named]
    found = dict(sending.case_options(settings, Options(), cases).sources)
    assert found["data/own.npz"] == str(tmp_path / "data" / "own.npz")
    assert found.get("shapes10", "shapes10") == "shapes10"
    assert found.get("mine", "mine") == "mine"


def test_what_a_project_needs(tmp_path: Path, colours: Path, nets: str) -> None:
    (tmp_path / "data").mkdir()
    os.link(colours, tmp_path / "data" / "colours.npz")
    (tmp_path / "baselines" / "colours").mkdir(parents=True)
    (tmp_path / "baselines" / "colours" / "x.json").write_text("{}")
    (tmp_path / "baselines" / "sets.POINTS" / "sidecars").mkdir(parents=True)
    (tmp_path / "baselines" / "sets.POINTS" / "sidecars" / "z.npz").write_text("")
    (tmp_path / "baselines" / "other").mkdir()
    (tmp_path / "baselines" / "other" / "y.json").write_text("{}")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "z").write_text("")
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.qreg]\nmodels = ["{nets}:make_net"]\ndatasets = ["data/colours.npz"]\n'
    )
    settings = read_settings(tmp_path / "pyproject.toml")
    assert settings is not None
    case = Case("colours", f"{nets}:make_net", "dynamic", "x86")
    options = Options(checkpoints=tmp_path / "weights", data_dir=tmp_path / "sets")
    points = replace(case, dataset="sets:POINTS")  # its folder has no colon
    trees = trees_of(settings, [case, points], options, tmp_path / "baselines")
    found = {(tree.prefix, one.path, one.linked) for tree in trees[1:] for one in tree.entries}
    assert found == {
        (str(tmp_path), f"{nets}.py", None),
        (str(tmp_path), "pyproject.toml", None),
        (str(tmp_path), "data/colours.npz", (trees[-1].digest, "colours.npz")),
        (str(tmp_path / "baselines"), "colours/x.json", None),
        (str(tmp_path / "baselines"), "sets.POINTS/sidecars/z.npz", None),
        (str(tmp_path / "data"), "colours.npz", None),
    }


@pytest.mark.parametrize("with_git", [True, False])
def test_linked_folders_and_submodules_are_sent_and_what_has_data_is_not(
    tmp_path: Path, colours: Path, *, with_git: bool
) -> None:
    root, libs, big = tmp_path / "project", tmp_path / "libs", tmp_path / "big"
    for name in ("sub", "data_of_repository"):
        (root / name).mkdir(parents=True)
    for folder in (libs, big):
        folder.mkdir()
    os.link(colours, big / "colours.npz")
    (big / "large.bin").write_text("not needed")
    (libs / "tools.py").write_text("")
    (libs / "again").symlink_to(libs)
    (libs / "up").symlink_to(tmp_path)
    (root / "sub" / "__init__.py").write_text("")
    for name, target in (("lib", libs), ("data", big)):
        (root / name).symlink_to(target)
    (root / "env").mkdir()
    (root / "env" / "pyvenv.cfg").write_text("")
    (root / "linked_env").symlink_to(root / "env")
    (root / "pyproject.toml").write_text(
        '[tool.qreg]\nmodels = ["simple_cnn"]\n'
        'datasets = ["data/colours.npz", "shapes10", "../out.npz"]\n'
    )
    os.link(colours, tmp_path / "out.npz")
    if with_git:
        (root / ".gitignore").write_text("env\n.gitignore\n")
        for folder in (root / "sub", root):
            subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True)
    settings = read_settings(root / "pyproject.toml")
    assert settings is not None
    options = Options(checkpoints=tmp_path / "weights", data_dir=tmp_path / "sets")
    shared = {"lib/tools.py", "pyproject.toml", "sub/__init__.py"}
    for dataset in ("colours", "shapes10", "out"):
        expected = {"data/colours.npz"} if dataset == "colours" else set()
        case = Case(dataset, "simple_cnn", "dynamic", "x86")
        project = trees_of(settings, [case], options)[1]
        assert {one.path for one in project.entries} == shared | expected


_NAMED = """
[tool.qreg]
models = ["nets:net"]
datasets = [
    "first.npz",
    { source = "data/second.npz", name = "second" },
    { source = "pictures", name = "third" },
]
"""


def test_data_of_a_project_is_found_in_it(tmp_path: Path, own_cache: Path, colours: Path) -> None:
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (root / "pyproject.toml").write_text(_NAMED)
    (root / "data" / "read_me.txt").write_text("the project's own")
    for name in ("first.npz", "data/second.npz"):
        os.link(colours, root / name)
    for name in ("test/red", "test/blue"):
        (root / "pictures" / name).mkdir(parents=True)
        (root / "pictures" / name / "1.png").write_bytes(b"1")
    settings = read_settings(root / "pyproject.toml")
    assert settings is not None
    cases = [Case(name, "nets:net", "fp32", "x86") for name in ("first", "second", "third")]
    options = Options(checkpoints=tmp_path / "weights", data_dir=tmp_path / "sets")
    trees = trees_of(settings, cases, options)[1:]
    contents = {
        digest: tree.read(number, part)
        for tree in trees
        for number, entry in enumerate(tree.entries)
        for part, digest in enumerate(entry.parts)
    }

    def fetch(digests: list[str]) -> Iterator[tuple[str, bytes]]:
        return ((digest, contents[digest]) for digest in digests)

    own_cache.mkdir()
    put = [on_node._tree(own_cache, tree.digest, tree.listing, fetch)[0] for tree in trees]
    for name in ("first.npz", "data/second.npz", "data/read_me.txt", "pictures/test/red/1.png"):
        assert (put[0] / name).read_bytes() == (root / name).read_bytes(), name
    assert {path.name for path in (put[0] / "data").iterdir()} == {"second.npz", "read_me.txt"}

    outside = [["x", 0, [], False, trees[-1].digest, "../../lock"]]
    with pytest.raises(ValueError, match="leads out"):
        on_node._tree(own_cache, "0" * 32, outside, fetch)


def test_the_checkpoint_of_data_given_by_its_path_is_sent(
    tmp_path: Path, colours: Path, nets: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.qreg]\nmodels = ["{nets}:make_net"]\n')
    settings = read_settings(tmp_path / "pyproject.toml")
    assert settings is not None
    factory, folder = f"{nets}:make_net", tmp_path / "weights"
    path = checkpoint_path(folder, factory, "colours", CheckpointKind.FP32)
    path.parent.mkdir(parents=True)
    recipe = Recipe(
        model=factory, dataset="colours", kind=CheckpointKind.FP32, epochs=1, learning_rate=0.1
    )
    sha256 = save_checkpoint(path, build_model(factory), recipe).sha256
    case, options = Case(str(colours), factory, "dynamic", "x86"), Options(checkpoints=folder)

    sent = {Path(tree.prefix, one.path) for tree in trees_of(settings, [case], options)
            for one in tree.entries}  # fmt: skip
    assert path in sent
    content = sending.case_content(settings, options, case)
    assert content["checkpoint"] == sha256
    assert sending.case_at(content, HERE)[0] == case
    path.unlink()
    with pytest.raises(QregError, match=f"the checkpoint here is missing, not {sha256}"):
        sending.case_at(content, HERE)


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is not None, reason="Ray is installed: tests/cluster"
)
def test_without_ray_the_command_that_installs_it_is_named(project: Path) -> None:
    from qreg.processes.cluster import RayExecutor

    with pytest.raises(QregError, match="Ray is not installed") as caught:
        RayExecutor("auto", [folder_tree(project)], folder=project)
    assert "qreg[ray]" in caught.value.hint
