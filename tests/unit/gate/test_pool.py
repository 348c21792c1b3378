"""Several processes that judge: the same verdicts, and a crash that costs its own case."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.errors import MissingDataError, QregError
from qreg.gate.pool import (
    JudgeRequest,
    Pool,
    judge_sent,
    model_groups,
    sent_request,
    spread_groups,
)
from qreg.measure.options import Options
from qreg.processes.executor import Places
from qreg.records.case import Case
from qreg.records.verdict import Outcome, Verdict
from qreg.selection import select_cases
from qreg.settings import Settings

_HOSTILE = """
import os, signal, sys, threading, time, torch

def crash(model, context):
    os.kill(os.getpid(), signal.SIGKILL)

def leave(model, context):
    os._exit(0)

def leave_politely(model, context):
    sys.exit(0)

def interrupt(model, context):
    raise KeyboardInterrupt

def hang(model, context):
    time.sleep(60)

def keep_alive(model, context):
    threading.Thread(target=time.sleep, args=(60,)).start()
    return model

def poison(model, context):
    torch.set_default_dtype(torch.float64)
    torch.nn.Conv2d.forward = lambda self, x: x * 0
    return model

def turn(model, context):
    sys.setrecursionlimit(40)
    torch.set_grad_enabled(True)
    torch.set_num_threads(7)
    return model
"""
_ENDS = {
    "crash": "was killed by SIGKILL",
    "leave": "exited 0",
    "leave_politely": "SystemExit",
    "interrupt": "KeyboardInterrupt",
    "hang": "gave no result in 3 s",
}


@pytest.fixture
def options(tmp_path: Path, colours: Path, nets: str) -> JudgeRequest:
    shutil.copy(colours, tmp_path / "colours.npz")
    with (tmp_path / f"{nets}.py").open("a") as file:
        file.write(_HOSTILE)
    settings = Settings(
        root=tmp_path,
        models=(f"{nets}:make_net",),
        datasets=("colours.npz",),
        methods=("fp32", f"{nets}:crash", "dynamic"),
        engines=("qnnpack",),
    )
    return JudgeRequest(
        settings, tmp_path / "baselines", alpha=0.005, options=Options(data_dir=tmp_path, threads=1)
    )


@pytest.fixture
def pool(options: JudgeRequest) -> Iterator[Pool]:
    missing = Case("cifar10", "simple_cnn", "fp32", "qnnpack")
    found = Pool(options, (*select_cases(options.settings), missing), jobs=2)
    yield found
    found.close()


def test_a_crash_costs_its_own_case_and_missing_data_is_reported(
    options: JudgeRequest, pool: Pool
) -> None:
    outcomes = []
    for case in select_cases(options.settings):
        verdict = pool.verdict(case)
        assert isinstance(verdict, Verdict)
        outcomes.append(verdict.outcome)
    assert outcomes == [Outcome.NO_BASELINE, Outcome.ERROR, Outcome.NO_BASELINE]
    with pytest.raises(MissingDataError, match="no cifar10"):
        pool.verdict(Case("cifar10", "simple_cnn", "fp32", "qnnpack"))


@pytest.mark.slow
def test_whatever_ends_a_case_is_the_error_of_that_case(options: JudgeRequest, nets: str) -> None:
    net, engine = f"{nets}:make_net", "qnnpack"
    ends = {Case("colours", net, f"{nets}:{name}", engine): said for name, said in _ENDS.items()}
    well = [Case("colours", net, method, engine) for method in ("fp32", "dynamic")]
    pool = Pool(replace(options, timeout=3), (well[0], *ends, well[1]), jobs=1)
    try:
        for case, said in ends.items():
            verdict = pool.verdict(case)
            assert isinstance(verdict, Verdict)
            assert verdict.outcome is Outcome.ERROR
            assert said in " ".join(verdict.notes), case
        assert all(_outcome(pool, case) is Outcome.NO_BASELINE for case in well)
        hung = pool.verdict(next(case for case in ends if case.method.endswith(":hang")))
        assert isinstance(hung, Verdict)
        assert "in hang" in hung.details
    finally:
        pool.close()


def test_what_a_model_does_to_its_process_reaches_no_other_model(
    options: JudgeRequest, nets: str, tmp_path: Path
) -> None:
    """The other model is judged as if it were alone: its logits are what they were."""
    (tmp_path / "others.py").write_text(f"from {nets} import make_net\n")
    engine = "qnnpack"
    poisoned = [
        Case("colours", f"{nets}:make_net", f"{nets}:{name}", engine)
        for name in ("poison", "turn", "keep_alive")
    ]
    other = Case("colours", "others:make_net", "fp32", engine)
    pool = Pool(options, (*poisoned, other), jobs=1)
    start = time.monotonic()
    try:
        for case in poisoned:
            pool.verdict(case)
        assert _outcome(pool, other) is Outcome.NO_BASELINE
    finally:
        pool.close()
    assert time.monotonic() - start < 50, "a thread that is left keeps nobody"


def test_the_many_cases_of_one_model_use_all_processes(
    options: JudgeRequest, nets: str, tmp_path: Path
) -> None:
    noted = tmp_path / "noted"
    noted.mkdir()
    names = [f"note{number}" for number in range(12)]
    with (tmp_path / f"{nets}.py").open("a") as file:
        file.write(f"""
def note(model, context):
    with open({str(noted)!r} + f"/{{os.getpid()}}", "a") as file:
        file.write("one\\n")
    return model

{" = ".join(names)} = note
""")
    cases = tuple(Case("colours", f"{nets}:make_net", f"{nets}:{x}", "qnnpack") for x in names)
    pool = Pool(options, cases, jobs=2)
    try:
        assert {_outcome(pool, case) for case in cases} == {Outcome.NO_BASELINE}
    finally:
        pool.close()
    counts = [one.read_text().count("one") for one in noted.iterdir()]
    assert len(counts) == 2
    assert counts[0] == counts[1]


def test_a_case_that_is_asked_for_again_is_judged_again(options: JudgeRequest) -> None:
    (case, *_) = select_cases(options.settings)
    pool = Pool(options, (case,), jobs=1)
    try:
        assert pool.verdict(case) == pool.verdict(case)
    finally:
        pool.close()


def test_the_pool_leaves_nothing(options: JudgeRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = options.settings.root / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    (case, *_) = select_cases(options.settings)
    pool = Pool(options, (case,), jobs=1)
    assert list(folder.iterdir())
    pool.close()
    assert not list(folder.iterdir())


def _outcome(pool: Pool, case: Case) -> Outcome:
    verdict = pool.verdict(case)
    assert isinstance(verdict, Verdict)
    return verdict.outcome


def test_a_case_is_judged_by_the_baseline_that_was_sent_or_not_at_all(
    options: JudgeRequest, nets: str
) -> None:
    case = Case("colours", f"{nets}:make_net", "fp32", "qnnpack")
    content = json.loads(sent_request(options, case))
    assert content["baseline"] == ""
    with pytest.raises(QregError, match="the baseline here is not the one that was sent"):
        judge_sent(content | {"baseline": "0" * 64}, Places())


def test_machines_take_large_models_whole_and_the_last_ones_in_parts() -> None:
    cases = [
        Case("shapes10", model, f"method{n % 5}", f"engine{n // 5}")
        for model, count in (("small", 20), ("large", 40), ("tiny", 3))
        for n in range(count)
    ]
    groups = model_groups(cases)
    assert [len(one) for one in groups] == [20, 40, 3]
    size = {"tiny": 1, "small": 10, "large": 100}
    spread = spread_groups(groups, 1, size=lambda case: size[case.model])
    assert [(one[0].model, len(one)) for one in spread] == [
        *[("large", 20)] * 2,
        *[("small", 10)] * 2,
        ("tiny", 3),
    ]
    assert sorted(map(str, (case for one in spread for case in one))) == sorted(map(str, cases))
    # engines of one method share what is observed of its calibration samples
    assert [case.method for case in spread[0]] == [
        f"method{n}" for n in (0, 1) for _ in range(8)
    ] + ["method2"] * 4
    assert max(map(len, spread_groups(groups, 100, size=lambda _: 0))) <= 8
    assert spread_groups([], 4, size=lambda _: 0) == []
