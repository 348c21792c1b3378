"""Bad data and tasks of a user: an ERROR of that case with one line, and the others are judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset as TorchDataset

from qreg.baselines.store import Store
from qreg.data import define_datasets
from qreg.data.source import DatasetSource
from qreg.errors import QregError
from qreg.gate.judge import Judge
from qreg.gate.observe import Gate
from qreg.measure.comparison import measure
from qreg.measure.options import Options
from qreg.quantization.engines import default_engine
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case
from qreg.records.verdict import Outcome, Verdict
from qreg.tasks import Task

ROOT = Path(__file__).parents[3]
COUNT = 40
VALUES = torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(0))


class Rows(TorchDataset[Any]):
    """A table; each kind of bad one changes a method of it."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return VALUES[index], VALUES[index, :1]


class OtherStructure(Rows):
    def __getitem__(self, index: int) -> Any:
        given, target = super().__getitem__(index)
        return ({"a": given} if index == 7 else given), target


class LengthLies(Rows):
    def __len__(self) -> int:
        return COUNT + 10


class Raises(Rows):
    def __getitem__(self, index: int) -> Any:
        if index == 13:
            raise OSError("disk on fire")
        return super().__getitem__(index)


class TargetOfAnotherType(Rows):
    def __getitem__(self, index: int) -> Any:
        return VALUES[index], "cheap"


class TargetOfAnotherShape(Rows):
    def __getitem__(self, index: int) -> Any:
        return VALUES[index], VALUES[index, :3]


class TargetsOfSeveralShapes(Rows):
    def __getitem__(self, index: int) -> Any:
        return VALUES[index], VALUES[index, : 1 + (index == 9)]


class TargetNotFinite(Rows):
    def __getitem__(self, index: int) -> Any:
        return VALUES[index], VALUES[index, :1] / float(index != 5)


class Collates(Rows):
    def collate_fn(self, items: list[Any]) -> Any:
        given = torch.stack([one for one, _ in items])
        return self.changed(given, torch.stack([one for _, one in items]))

    def changed(self, given: Any, targets: Any) -> Any:
        return given, targets


class CollateReorders(Collates):
    def changed(self, given: Any, targets: Any) -> Any:
        return given.flip(0), targets.flip(0)


class CollateDrops(Collates):
    def changed(self, given: Any, targets: Any) -> Any:
        return given[: max(1, len(given) - 1)], targets


class CollateReturnsOne(Collates):
    def changed(self, given: Any, targets: Any) -> Any:
        return given


class Augments(Rows):
    def __getitem__(self, index: int) -> Any:
        return VALUES[index] + torch.rand(4), VALUES[index, :1]


def _splits(kind: type[Rows]) -> Callable[[], dict[str, Rows]]:
    return lambda: {"train": Rows(), "test": kind()}


#: By kind of data, what the error says of it.
BAD_DATA: dict[type[Rows], str] = {
    OtherStructure: "test: item 7 of 40 is ({a: float32}, float32), others are (float32, float32)",
    LengthLies: "test: item 40 of 50 raised IndexError",
    Raises: "test: item 13 of 40 raised OSError: disk on fire",
    TargetOfAnotherType: "not a tuple of 40",
    TargetOfAnotherShape: "outputs (40, 1) and targets (40, 3) have different shapes",
    TargetsOfSeveralShapes: "[2] at entry 9",
    TargetNotFinite: "the target of sample 5 is not finite",
    CollateReorders: "the collate function gives sample 0 other inputs, or another place",
    CollateDrops: "the collate function made",
    CollateReturnsOne: "the collate function returned",
    Augments: "test: item 0 of 40 is another one when it is read again",
}
for _kind in (Rows, Collates, *BAD_DATA):
    globals()[f"of_{_kind.__name__}"] = _splits(_kind)


def _error(outputs: Any, targets: Any) -> Any:
    return (outputs - targets).abs().mean(1)


def _task(name: str, score: Callable[[Any, Any], Any], **more: Any) -> Task:
    return Task(name=name, score=score, score_name="error", higher_is_better=False, **more)


ONE_SHORT = _task("ONE_SHORT", lambda out, wanted: _error(out, wanted)[:-1])
ONE_FOR_ALL = _task("ONE_FOR_ALL", lambda out, wanted: _error(out, wanted).sum())
NOT_A_NUMBER = _task("NOT_A_NUMBER", lambda out, wanted: _error(out, wanted) * float("nan"))
NOT_BINARY = _task("NOT_BINARY", _error, binary=True)
TEXT = _task("TEXT", lambda out, wanted: ["good"] * len(out))
FAILS = _task("FAILS", lambda out, wanted: out["boxes"])
#: By task, what the error says of it.
BAD_TASKS = {
    "ONE_SHORT": "returned scores of shape (39,) for 40 samples",
    "ONE_FOR_ALL": "returned scores of shape () for 40 samples",
    "NOT_A_NUMBER": "the score of sample 0 is nan",
    "NOT_BINARY": "and the task says that all are 0 or 1",
    "TEXT": "its score returned list, not numbers",
    "FAILS": "its score failed: IndexError",
}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def _case(kind: type[Rows], task: str = "regression", method: str = "dynamic") -> Case:
    name = f"{__name__}:of_{kind.__name__}"
    define_datasets([DatasetSource(name, name, task=task)])
    return Case(name, f"{__name__}:net", method, default_engine())


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """With a baseline of the good data."""
    store, seen = Store(tmp_path), Gate(Options()).observe(_case(Rows))
    assert isinstance(seen, Snapshot), seen
    store.write(Baseline(seen, (Approval("first", "2026-01-01T00:00:00+00:00", "", ""),)))
    return Judge(Gate(Options()), store, alpha=0.01)


def _says(judge: Judge, case: Case) -> str:
    """The reason of the case's ERROR, after which another case is judged as ever."""
    found = judge.verdict(case)
    assert isinstance(found, Verdict)
    assert found.outcome is Outcome.ERROR
    text = found.notes[0]
    assert "\n" not in text
    good = judge.verdict(_case(Rows))
    assert isinstance(good, Verdict)
    assert good.outcome is Outcome.PASS
    return text


@pytest.mark.parametrize(
    ("kind", "says"), BAD_DATA.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_bad_data_is_an_error_of_its_case(judge: Judge, kind: type[Rows], says: str) -> None:
    assert says in _says(judge, _case(kind))


@pytest.mark.parametrize(("task", "says"), BAD_TASKS.items(), ids=list(BAD_TASKS))
def test_a_bad_task_is_an_error_of_its_case(tmp_path: Path, task: str, says: str) -> None:
    judge = Judge(Gate(Options()), Store(tmp_path), alpha=0.01)
    found = judge.verdict(_case(Rows, f"{__name__}:{task}"))
    assert isinstance(found, Verdict)
    assert found.outcome is Outcome.ERROR
    assert says in found.notes[0]
    good = judge.verdict(_case(Collates))
    assert isinstance(good, Verdict)
    assert good.outcome is Outcome.NO_BASELINE


@pytest.mark.parametrize("kind", list(BAD_DATA), ids=lambda one: one.__name__)
def test_compare_says_the_same_in_one_line(kind: type[Rows]) -> None:
    with pytest.raises(QregError) as caught:
        measure([_case(kind, method=method) for method in ("fp32", "dynamic")], Options())
    assert BAD_DATA[kind] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.slow
def test_as_a_user_sees_it(tmp_path: Path) -> None:
    """pytest judges all, and says one line of each bad one."""
    name = Path(__file__).stem
    (tmp_path / f"{name}.py").write_text(Path(__file__).read_text())
    tables = [
        f'{{ source = "{name}:of_{kind.__name__}", task = "regression" }}'
        for kind in (Rows, *BAD_DATA)
    ]
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.qreg]\nmodels = ["{name}:net"]\nmethods = ["fp32"]\n'
        f"datasets = [{', '.join(tables)}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "regression", "-q", "-p", "no:cacheprovider",
         "-p", "qreg.pytest_plugin", "--qreg-json", "verdicts.json"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "CI": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed
    assert f"{len(BAD_DATA) + 1} cases: {len(BAD_DATA)} ERROR, 1 NO_BASELINE" in printed
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())
    assert sum(one["outcome"] == "ERROR" for one in verdicts) == len(BAD_DATA)
    for says in BAD_DATA.values():
        assert says in printed
