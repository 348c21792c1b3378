"""The wheel: what `qreg compare` needs, and not the baselines of the shipped models."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Megabytes: what an installation may download for models that it may never use.
MOST_MB = 20
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    alone = [] if importlib.util.find_spec("hatchling") is None else ["--no-build-isolation"]
    subprocess.run([*command, str(folder), *alone, str(ROOT)], check=True, timeout=300)
    (made,) = folder.glob("qreg-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def _qreg(installed: Path, empty: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    for name in ("QREG_BASELINES", "QREG_CHECKPOINTS"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "qreg", *args],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_it_is_small_and_has_no_baselines(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_MB * 1e6
    names = zipfile.ZipFile(wheel).namelist()
    checkpoints = [name for name in names if name.endswith(".safetensors")]
    assert checkpoints
    assert all(name.startswith("qreg/_baselines/checkpoints/") for name in checkpoints)
    assert not [name for name in names if "@" in name]
    assert "qreg/py.typed" in names
    here = {path.name for path in (ROOT / "qreg" / "report" / "templates").iterdir()}
    assert here
    assert here <= {Path(name).name for name in names if "/templates/" in name}


def test_it_compares_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = _qreg(
        installed, tmp_path, "compare", "--model", "linear_100", "--methods", "dynamic,qat"
    )
    assert done.returncode == 0, done.stderr
    assert "linear_100 on shapes10" in done.stdout


def test_it_says_in_one_line_that_there_are_no_baselines(installed: Path, tmp_path: Path) -> None:
    done = _qreg(installed, tmp_path, "baseline", "diff")
    assert done.returncode == 2
    assert "installed qreg brings none" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert "--baselines" in done.stderr
