"""Every command that README.md and docs/ name runs, in a short form; the quickest of them here.

The long ones are `slow`. A command keeps its options; what makes it short is appended, and stands
in `_SHORT` and `_INSTEAD`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import make_npz
from qreg.cli import build_parser

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "tests" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCE = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_QREG = re.compile(r"^(?:\$ )?(?:\S+=\S+ )*(?:\S+/)?(?:python -m )?qreg ([a-z].*)$")
#: options that make a command short; the last one given counts
_SHORT = {
    "compare": "--limit 40 --threads 1",
    "migrate": "--limit 40 --threads 1",
    "sensitivity": "--limit 40 --threads 1",
    "recover": "--limit 40 --threads 1",
    "train": "--epochs 1 --threads 1 --force",
    "audit": "--images 4 --threads 1",
    "check": "--methods dynamic",
    "init": "--methods dynamic --force",
}
#: words of a command whose meaning is a machine's or a repository's own, or that take long
_INSTEAD = {
    "cifar10": "shapes10",
    "resnet20": "linear_100",
    "mobilenet_v2": "linear_100",
    "nets:damaged": "nets:make_net",
    "nets:data": "photos.npz",
    "pt2e-static": "static",
    "simple_cnn": "linear_100",
    "static,fx-static,pt2e-static,pt2e-static-compiled": "static,fx-static",
    "--compiled": "--no-code",
    "all": "x86",
    "x86,onednn": "x86",
    "onednn": "x86",
    "static,fx-static,pt2e-static": "static",
    # what needs an extra, or a file that the reader has
    "--ray": "--threads",
    "auto": "1",
    "ort-fp32,ort-static,ort-dynamic": "dynamic",
    "file:net_int8.onnx": "dynamic",
    "file:net.onnx": "nets:make_net",
}
#: commands about two sides or a whole project: what is run for each, one after the other
_CASE = "shapes10/linear_100/dynamic@x86"
_RECORD = (
    "history record --dataset shapes10 --model linear_100 --method dynamic --engine x86 "
    f"--baselines {ROOT / 'baselines'}"
)
_FOR = {
    "audit calibration": [
        "audit calibration --model linear_100 --draws 2 --sizes 8,16 --images 20 --threads 1"
    ],
    "check": ["check nets:make_net --dataset photos.npz --methods dynamic,static"],
    "baseline show": [f"baseline show {_CASE} --baselines {ROOT / 'baselines'}"],
    "baseline diff": [f"baseline diff {_CASE} --baselines {ROOT / 'baselines'}"],
    "baseline update": [
        f"baseline update --baselines own --reason short --category create {_CASE}"
    ],
    "selftest": [
        "selftest --model linear_100 --faults bias-dropped --method static --clean-runs 0 "
        "--json proof.json"
    ],
    "speed check": [f"speed check . . --pairs 8 --cases {_CASE}"],
    "speed record": [f"speed record --reference . --pairs 8 --cases {_CASE}"],
    "speed history": [f"speed record --reference . --pairs 8 --cases {_CASE}", "speed history"],
    "speed instructions": [],  # needs valgrind and minutes; tests/unit/speed has it
    "speed calibrate": [f"speed calibrate --trials 1 --scenarios A/A --cases {_CASE}"],
    "history record": [_RECORD],
    "history show": [_RECORD, "history show"],
    "history html": [_RECORD, "history html nights.html"],
    "upgrade": [
        f"upgrade --from . --to . --cases {_CASE}",
        f"upgrade --matrix .,{sys.executable} --cases {_CASE}",
    ],
}


def sh_lines(text: str) -> Iterator[str]:
    """The lines of a page's shell blocks that are commands."""
    for fence in _FENCE.finditer(text):
        lines = fence.group(1).splitlines()
        console = any(line.startswith("$ ") for line in lines)
        yield from (line for line in lines if line.startswith("$ ") or not console)


def qreg_commands() -> list[str]:
    """The arguments of every qreg command of every page, comments and redirections left out."""
    found = []
    for page in PAGES:
        for line in sh_lines(page.read_text(encoding="utf-8")):
            for part in line.partition("  #")[0].split(" && "):
                if match := _QREG.match(part.strip()):
                    found.append(match.group(1).partition(" # ")[0].strip())
    return list(dict.fromkeys(found))


COMMANDS = qreg_commands()


def test_every_command_is_named() -> None:
    actions = build_parser()._subparsers
    assert actions is not None
    names = {name for action in actions._group_actions for name in action.choices or ()}
    assert names - {command.split()[0] for command in COMMANDS} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_is_accepted(command: str) -> None:
    """Its options exist and its values are valid; nothing is run."""
    build_parser().parse_args(shlex.split(command))


def test_scripts_that_are_named_exist() -> None:
    for page in PAGES:
        for script in re.findall(r"python (\S+\.py)", page.read_text(encoding="utf-8")):
            assert (ROOT / script).is_file(), f"{page.name}: {script}"
        for module in re.findall(r"python -m (tests\.[\w.]+\w)", page.read_text(encoding="utf-8")):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), f"{page.name}: {module}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with everything that the pages' commands name."""
    folder = tmp_path_factory.mktemp("project")
    net = (
        "from torch import nn\n\n\n"
        "def make_net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), "
        "nn.Linear(512, 4))\n\n\n"
        "def quantize(model, context):\n    return model\n"
    )
    (folder / "nets.py").write_text(net)
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "__init__.py").write_text("")
    (folder / "mypackage" / "nets.py").write_text(net)
    make_npz(folder / "photos.npz")
    for example in (ROOT / "tests" / "examples").glob("[a-z]*.py"):
        if not example.name.startswith("test_"):
            shutil.copy(example, folder)
    _make_images(folder / "my_images")
    return folder


def _make_images(folder: Path) -> None:
    from PIL import Image

    for split, count in (("train", 6), ("test", 3)):
        for value, name in ((60, "dark"), (120, "dim"), (180, "light"), (240, "bright")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                colour = (value, value - number, value)
                Image.new("RGB", (32, 32), colour).save(folder / split / name / f"{number}.png")


def short_form(command: str) -> list[str]:
    """The commands, one line each, that stand for a command of a page."""
    for name, instead in _FOR.items():
        if command.startswith(name):
            return instead
    words = [_INSTEAD.get(word, word) for word in shlex.split(command)]
    return [shlex.join([*words, *shlex.split(_SHORT.get(words[0], ""))])]


SHORT = list(dict.fromkeys(tuple(short_form(command)) for command in COMMANDS))


@pytest.mark.slow
@pytest.mark.parametrize("commands", [c for c in SHORT if c], ids="; ".join)
def test_the_command_runs(commands: tuple[str, ...], project: Path) -> None:
    """Exit status 0, or 1 where something was found; never 2, and never a traceback."""
    # the table of another page's `qreg init`: its model would be that of commands that name none
    (project / "pyproject.toml").unlink(missing_ok=True)
    for command in commands:
        status, text = _run(command, project)
        assert status in (0, 1), text
        assert "Traceback" not in text
        assert "UserWarning" not in text


def _run(command: str, folder: Path) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # a reader's shell: not CI, where nothing is approved, and nothing set up for this project
    for name in ("CI", "QREG_DATA_DIR", "QREG_BASELINES"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "qreg", *shlex.split(command)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


#: what makes a script that the pages name short
_SCRIPTS = {
    "docs/printed.py": "",
    "docs/screenshots.py": "--help",
    "tests/speed/gate_overhead.py": "--rounds 1 --models linear_100",
    # without onnxruntime it is refused in one line, which is no short form of it
    "tests/speed/onnx_gate_overhead.py": "--help",
    "tests/speed/process_overhead.py": "--rounds 1 --models linear_100",
    "tests/speed/compare_overhead.py": "--dataset shapes10 --rounds 1",
    "tests/speed/judge_baselines.py": "--count 4",
    "tests/speed/page_speed.py": "--count 3",
    "tests/speed/calibrate_penalty.py": "--series 2",
    "tests/speed/zoo.py": "--help",
    "tests/speed/sensitivity_overhead.py": "--model linear_100 --limit 40 --bare 1",
    "tests/speed/tasks_overhead.py": "--count 1 --rounds 1",
    "tests/speed/image_folder.py": "--count 20",
    "tests/evidence/clean_scores.py": "--help",
    "tests/evidence/real_scores.py": "--draws 5",
    "tests/evidence/budget_rates.py": "--table simulated --draws 5",
    "tests.invariants.deviations": "",
    "tests.invariants.odd_inputs": "",
    "tests.invariants.real_kernels": "--images 1 --model linear_100",
    "tests.faults.mutate_oracle": "--help",
    "tests.faults.environment_noise": "--help",
    "tests.robustness.mutations": "--count 40",
    "tests.robustness.kills": "--count 2 --only record",
    "tests.robustness.writers": "--count 2",
    "tests/speed/scan_baselines.py": "--count 40",
    "tests.cluster.large_set": "--count 600 --shards 3",
    # without Ray they are refused; tests/cluster runs what they are made of
    "tests.cluster.lost_machines": "--help",
    "tests.cluster.matrix": "--help",
    "tests.cluster.speed": "--help",
    "tests.cluster.scaling": "--help",
}


def test_every_script_has_a_short_form() -> None:
    named = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named |= set(re.findall(r"python (\S+\.py)", text))
        named |= set(re.findall(r"python -m ((?:tests|docs)\.[\w.]+\w)", text))
    assert named - set(_SCRIPTS) == set()


@pytest.mark.slow
@pytest.mark.parametrize("script", _SCRIPTS)
def test_the_script_runs(script: str) -> None:
    target = [script] if script.endswith(".py") else ["-m", script]
    done = subprocess.run(
        [sys.executable, *target, *shlex.split(_SCRIPTS[script])],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
