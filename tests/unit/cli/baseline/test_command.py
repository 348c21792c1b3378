from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.cli import main
from qreg.errors import MissingDataError
from qreg.records.baseline import Snapshot
from qreg.records.case import Case
from qreg.records.verdict import Outcome
from tests.unit.baselines import build
from tests.unit.cli.conftest import World

QAT = replace(build.CASE, method="qat")
NAMES = (str(build.CASE), str(QAT))


def _update(*argv: str, reason: str = "because") -> int:
    return main(["baseline", "update", "--reason", reason, *argv])


def test_show_needs_no_torch(world: World) -> None:
    world.store.write(build.baseline())
    code = "import sys; from qreg.cli import main; status = main(sys.argv[1:]); "
    code += "print([m for m in ('torch', 'scipy') if m in sys.modules]); sys.exit(status)"
    command = [sys.executable, "-c", code, "baseline", "show", NAMES[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    words = ("first", "2026-11-23", "torch 2.14.1", "AVX512 with VNNI", "87.50 %", "conv1", "31.25")
    for word in (*words, "qint8 4 channels", "45,678 bytes", "quantized::conv2d_relu 3"):
        assert word in done.stdout


def test_show_prints_the_file(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.store.write(build.baseline())
    assert main(["baseline", "show", NAMES[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("show", NAMES[0]), "no baseline of"),
        (("show", "simple_cnn"), "dataset/model/method@engine"),
        (("diff", "shapes10/nothing/*"), "unknown case"),
        (("diff", "shapes10/simpel_cnn/static@x86"), "'simple_cnn'?"),
        (("diff", "shapes/simple_cnn/static@x86"), "'shapes10'?"),
        (("diff", "--engine", "x68"), "'x86'?"),
    ],
)
def test_errors_are_reported(
    world: World, argv: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", *argv]) == 2
    assert message in capsys.readouterr().err
    assert world.observed == []


@pytest.mark.parametrize("action", ["show", "diff", "update"])
def test_help_has_examples_and_exit_statuses(
    action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["baseline", action, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert f"qreg baseline {action}" in shown
    assert "exit status: 0" in shown


def test_diff_measures_what_has_a_baseline_and_writes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", "diff"]) == 0
    for case in (build.CASE, QAT):
        world.store.write(build.baseline(build.snapshot(case=case)))
    world.outcomes[QAT] = Outcome.REGRESSED
    world.seed = 1
    assert main(["baseline", "diff"]) == 1
    shown = capsys.readouterr().out
    assert world.observed == [QAT, build.CASE]
    assert "fix" in shown
    assert "REGRESSED" in shown
    assert re.search(r"1 fix; 1 \w+", shown)
    assert "--accept-regression CASE" in shown
    assert world.held(QAT) == build.snapshot(case=QAT)


def test_patterns_and_options_choose_cases(world: World) -> None:
    main(["baseline", "diff", "shapes10/simple_cnn/*@x86"])
    assert QAT in world.observed
    assert {(c.dataset, c.model, c.engine) for c in world.observed} == {
        ("shapes10", "simple_cnn", "x86")
    }
    world.observed.clear()
    main(["baseline", "diff", "--model", "resnet20", "--dataset", "shapes10", "--engine", "x86",
          "--methods", "qat,static"])  # fmt: skip
    assert [str(case) for case in world.observed] == [
        "shapes10/resnet20/qat@x86",
        "shapes10/resnet20/static@x86",
    ]


def test_update_creates_what_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert _update(*NAMES) == 0
    assert world.store.cases() == (QAT, build.CASE)
    (held,) = world.store.read(QAT)
    assert held.history[-1].reason == "because"
    assert held.history[-1].date.endswith("+00:00")
    assert "2 create; 0" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [NAMES, ("--category", "fix")])
def test_a_regression_is_applied_only_by_name(
    world: World, argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for case in (build.CASE, QAT):
        world.store.write(build.baseline(build.snapshot(case=case)))
    world.outcomes = {QAT: Outcome.REGRESSED, build.CASE: Outcome.IMPROVED}
    world.seed = 1
    assert _update(*argv) == 1
    assert f"{QAT}: not applied, because it REGRESSED" in capsys.readouterr().err
    assert world.held(QAT) == build.snapshot(case=QAT)
    assert world.held(build.CASE) == build.snapshot(seed=1)
    assert _update(*argv, "--accept-regression", str(QAT)) == 0
    assert world.held(QAT) == build.snapshot(case=QAT, seed=1)
    replaced = world.store.read(QAT)[0].history[-1].replaced
    assert replaced is not None
    assert replaced.outcome is Outcome.REGRESSED


def test_accepting_a_regression_names_the_case(world: World) -> None:
    for case in (build.CASE, QAT):
        world.store.write(build.baseline(build.snapshot(case=case)))
    world.outcomes = dict.fromkeys((build.CASE, QAT), Outcome.REGRESSED)
    assert _update("--accept-regression", str(QAT)) == 0
    assert world.observed == [QAT]


def test_accepting_what_is_not_measured_is_a_mistake(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _update(str(QAT), "--accept-regression", str(build.CASE)) == 2
    assert "is not among the cases" in capsys.readouterr().err
    assert world.store.cases() == ()


def test_a_regression_in_another_environment_must_be_named_too(world: World) -> None:
    elsewhere = replace(build.ENVIRONMENT, vnni=False)
    world.store.write(build.baseline(build.snapshot(environment=elsewhere)))
    world.outcomes[build.CASE] = Outcome.REGRESSED
    assert _update(str(build.CASE)) == 1
    assert len(world.store.read(build.CASE)) == 1
    assert _update(str(build.CASE), "--accept-regression", str(build.CASE)) == 0
    assert len(world.store.read(build.CASE)) == 2


def test_other_categories_are_left(world: World) -> None:
    world.store.write(build.baseline())
    world.outcomes[build.CASE] = Outcome.IMPROVED
    assert _update(*NAMES, "--category", "create") == 0
    assert world.store.cases() == (QAT, build.CASE)
    assert len(world.store.read(build.CASE)[0].history) == 1


def test_trim_removes_unknown_cases_and_orphans_and_measures_nothing(world: World) -> None:
    gone = replace(build.CASE, model="gone")
    world.store.write(build.baseline(build.snapshot(case=gone, seed=2)))
    world.store.write(build.baseline(build.snapshot(seed=1)))
    world.store.write(build.baseline())
    assert len(world.store.orphans()) == 1
    assert _update("--category", "trim") == 0
    assert world.store.cases() == (build.CASE,)
    assert world.observed == []
    assert world.store.orphans() == ()


@pytest.mark.parametrize(
    ("argv", "environment", "message"),
    [
        ((*NAMES, "--reason", " "), {}, "needs a reason"),
        ((), {}, "is named"),
        (NAMES, {"CI": "true"}, "not approved in CI"),
        (NAMES, {"CI": "1"}, "not approved in CI"),
    ],
)
def test_update_refuses(
    world: World,
    argv: tuple[str, ...],
    environment: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _update(*argv) == 2
    assert message in capsys.readouterr().err
    assert world.observed == []
    assert world.store.cases() == ()


def test_shipped_baselines_are_not_written(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.store.root.rmdir()
    assert _update(*NAMES) == 2
    assert "there is no folder baselines" in capsys.readouterr().err
    assert world.observed == []


def test_a_projects_settings_say_which_cases_there_are(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.store.root.rmdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.qreg]\nmodels = ["nets:make"]\nmethods = ["qat"]\nengines = ["x86"]\n'
    )
    assert _update("--category", "create") == 0
    own = Case("shapes10", "nets:make", "qat", "x86")
    assert world.store.cases() == (own,)
    assert main(["baseline", "diff", "shapes10/nets:*"]) == 0
    assert world.observed == [own, own]


def test_data_that_is_not_here_leaves_the_other_datasets(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def observe(case: Case) -> Snapshot:
        if case.dataset == "cifar10":
            raise MissingDataError("no cifar10", hint="get it")
        return build.snapshot(case=case)

    monkeypatch.setattr(world, "observe", observe)
    assert _update("*/simple_cnn/qat@x86") == 1
    captured = capsys.readouterr()
    assert "cifar10/simple_cnn/qat@x86: unavailable: no cifar10\n  get it" in captured.err
    assert world.store.cases() == (QAT,)


def test_a_failure_and_a_damaged_file_leave_the_others(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.broken = {QAT}
    assert _update(*NAMES) == 1
    captured = capsys.readouterr()
    assert "it raised" in captured.err
    assert "Traceback" not in captured.err
    assert world.store.cases() == (build.CASE,)
    sidecar = world.store.root / "shapes10" / "sidecars"
    for path in sidecar.iterdir():
        path.write_bytes(b"")
    world.broken = set()
    assert _update(*NAMES) == 1
    captured = capsys.readouterr()
    assert "restore it with git" in captured.err
    assert world.store.cases() == (QAT, build.CASE)


def test_what_another_process_approved_meanwhile_is_not_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.store.write(build.baseline())
    world.outcomes[build.CASE] = Outcome.IMPROVED
    world.seed = 1
    observe = world.observe

    def meanwhile(case: Case) -> object:
        (before,) = world.store.read(build.CASE)
        approval = replace(before.history[-1], reason="somebody else's")
        world.store.write(replace(before, history=(*before.history, approval)))
        return observe(case)

    monkeypatch.setattr(world, "observe", meanwhile)
    assert _update(str(build.CASE)) == 1
    assert "by another process in the meantime" in capsys.readouterr().err
    (kept,) = world.store.read(build.CASE)
    assert kept.history[-1].reason == "somebody else's"
    assert kept.snapshot == build.snapshot()
