"""Environments made by the real pip, of wheels that hold nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qreg.errors import QregError
from qreg.settings import tomllib
from qreg.upgrade.releases import NEEDS, is_version, overlay_packages, requirements
from qreg.upgrade.venvs import add_packages, venv_python
from tests.unit.upgrade.wheels import make_wheel, make_wheels

ROOT = Path(__file__).parents[3]
_MAKE = "from qreg.upgrade.venvs import venv_python; print(venv_python('9.9.1'))"


@pytest.fixture
def index(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip finds wheels, and nowhere else."""
    settings = {"NO_INDEX": "1", "CONFIG_FILE": "/dev/null", "CONSTRAINT": ""}
    for name, value in {**settings, "FIND_LINKS": str(tmp_path / "wheels")}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return tmp_path / "wheels"


def _left(cache: Path) -> list[str]:
    return sorted(p.name for p in (cache / "venvs").iterdir() if not p.name.endswith(".lock"))


@pytest.mark.slow
def test_it_is_made_once(index: Path, own_cache: Path) -> None:
    make_wheels(index, "9.9.1")
    shown: list[str] = []
    python = venv_python("9.9.1", show=lambda done, total, what: shown.append(what))
    assert _version(python) == "9.9.1"
    assert "torch 9.9.1: Installing collected" in shown
    assert not any("Looking" in what or "Requirement" in what for what in shown)
    assert len(_left(own_cache)) == 1
    for wheel in index.iterdir():
        wheel.unlink()
    assert venv_python("9.9.1") == python


def _version(python: Path) -> str:
    command = [str(python), "-c", "import torch; print(torch.__version__)"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
def test_packages_of_this_interpreter_are_added_once(index: Path, own_cache: Path) -> None:
    make_wheels(index, "9.9.1")
    wanted = ("onnx==1.99.0", "onnxruntime==1.98.0")
    for one in wanted:
        make_wheel(index, *one.split("=="))
    add_packages("9.9.1", wanted)
    ask = "import importlib.metadata as m; print(m.version('onnx'), m.version('onnxruntime'))"
    command = [str(venv_python("9.9.1")), "-c", ask]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1.99.0", "1.98.0"]
    for wheel in index.iterdir():
        wheel.unlink()
    add_packages("9.9.1", wanted)
    with pytest.raises(QregError, match=r"onnx==1\.0\.1"):
        add_packages("9.9.1", ("onnx==1.0.1",))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not on PATH")
def test_uv_makes_it_where_it_is_on_path(
    index: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheels(index, "9.9.1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index / "nothing"))  # so that pip finds nothing
    with pytest.raises(QregError, match="pip cannot install"):
        venv_python("9.9.1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    assert _version(venv_python("9.9.1")) == "9.9.1"


@pytest.mark.slow
def test_what_a_killed_process_left_is_not_taken_for_whole(index: Path, own_cache: Path) -> None:
    make_wheels(index, "9.9.1")
    name = f"torch-9.9.1-py{sys.version_info[0]}.{sys.version_info[1]}"
    half = own_cache / "venvs" / f"{name}.half" / "bin"
    half.mkdir(parents=True)
    (half / "python").symlink_to("/nowhere")
    assert _version(venv_python("9.9.1")) == "9.9.1"
    assert _left(own_cache) == [name]


@pytest.mark.slow
def test_a_version_that_does_not_exist(index: Path, own_cache: Path) -> None:
    make_wheels(index, "9.9.1")
    with pytest.raises(QregError, match=r"from versions: 9\.9\.1") as caught:
        venv_python("9.9.2")
    assert "choose a version" in caught.value.hint
    assert not _left(own_cache)


@pytest.mark.slow
def test_nothing_is_found_at_all(index: Path, own_cache: Path) -> None:
    index.mkdir()
    with pytest.raises(QregError, match=r"cannot install torch==9\.9\.1: ") as caught:
        venv_python("9.9.1")
    assert "network" in caught.value.hint
    assert not _left(own_cache)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wheel", "reason"),
    [({"says": "9.9.0"}, r"installed torch 9\.9\.0"), ({"raises": True}, "no such library")],
    ids=["another version", "it does not import"],
)
def test_one_that_does_not_work_is_not_kept(
    wheel: dict[str, object], reason: str, index: Path, own_cache: Path
) -> None:
    make_wheels(index, "9.9.1", **wheel)  # type: ignore[arg-type]
    with pytest.raises(QregError, match=reason):
        venv_python("9.9.1")
    assert not _left(own_cache)


@pytest.mark.slow
def test_two_processes_make_one(index: Path, own_cache: Path) -> None:
    make_wheels(index, "9.9.1")
    command = [sys.executable, "-c", _MAKE]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert len(_left(own_cache)) == 1


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QREG_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(QregError, match="cannot be written") as caught:
        venv_python("9.9.1")
    assert "QREG_CACHE_DIR" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["2.14.1", "2.9", "2.15.0rc1", "2.12.0.post1", "2.6.0+cpu", "2.16.0.dev20261101"]
)
def test_versions(text: str) -> None:
    assert is_version(text)


@pytest.mark.parametrize("text", [".", "python3.11", "../venv", "/usr/bin/python3", "2", ""])
def test_what_is_no_version(text: str) -> None:
    assert not is_version(text)


def test_the_needs_are_the_projects() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert sorted(NEEDS) == sorted(need for need in table if not need.startswith("torch"))
    assert requirements("2.14.1")[:2] == ("torch==2.14.1", "torchvision==0.29.1")
    assert requirements("2.99.0")[:2] == ("torch==2.99.0", "torchvision")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("onnxruntime==1.20.1", ("onnxruntime==1.20.1",)),
        ("onnxruntime==1.20.1, torchao==0.17.0", ("onnxruntime==1.20.1", "torchao==0.17.0")),
        ("2.14.1", ()),
        ("onnxruntime", ()),
        ("numpy==1.26", ()),
        ("../venv-new", ()),
    ],
)
def test_versions_of_other_packages_are_sides(text: str, expected: tuple[str, ...]) -> None:
    assert overlay_packages(text) == expected
