from __future__ import annotations

import os
from pathlib import Path

import pytest

from qreg.measure.options import Options
from qreg.processes.jobs import Job, LostError
from qreg.processes.sides import HERE, open_side
from qreg.records.case import Case
from qreg.speed.pairs import processor_of, run_pair
from tests.unit.speed.fake import CASES, fake_python, log_of

ROOT = Path(__file__).parents[3]


def job(*cases: Case, **more: object) -> Job:
    given = {"rounds": 3, "warm_up": 1, "options": Options(threads=1, batch=2), **more}
    return Job(cases, calls=(5,) * len(cases), **given)  # type: ignore[arg-type]


@pytest.mark.slow
def test_two_real_children_take_turns() -> None:
    cases = [Case("shapes10", "linear_100", method, "x86") for method in ("static", "fp32")]
    place = processor_of(0, threads=1)
    jobs = {"A": job(*cases, processor=place), "B": job(*cases, extra=((512, 1), (0, 1)))}
    with open_side(HERE, ROOT) as side:
        found = run_pair("BA", {"A": side, "B": side}, jobs, timeout=120)
    assert [one["calls"] for one in found["A"]["seconds"]] == [15, 15]
    slower, same = (found["B"]["seconds"][n]["p5"] / found["A"]["seconds"][n]["p5"] for n in (0, 1))
    # 512 layers of a microsecond beside a call of some tens of them
    assert slower > 2 * same


@pytest.mark.parametrize("letter", ["A", "B"])
def test_the_side_that_crashes_is_named_and_the_other_is_gone(tmp_path: Path, letter: str) -> None:
    pythons = {
        one: fake_python(tmp_path / one, crash=(0,) if one == letter else ()) for one in "AB"
    }
    with open_side(pythons["A"], tmp_path) as a, open_side(pythons["B"], tmp_path) as b:
        asked = dict.fromkeys("AB", job(CASES[0]))
        name = {"A": "baseline", "B": "candidate"}[letter]
        with pytest.raises(LostError, match=f"{name} was killed by SIGSEGV"):
            run_pair("AB", {"A": a, "B": b}, asked, timeout=30)
    for one in pythons.values():
        for entry in log_of(one) if Path(one).with_suffix(".log").exists() else ():
            with pytest.raises(ProcessLookupError):
                os.kill(entry["pid"], 0)


@pytest.mark.slow
def test_one_that_says_an_error_before_its_turn_is_reported(tmp_path: Path) -> None:
    case = Case("shapes10", "linear_100", "nothing", "x86")
    jobs = {"A": job(Case("shapes10", "linear_100", "fp32", "x86")), "B": job(case)}
    with open_side(HERE, ROOT) as side, pytest.raises(LostError, match="'nothing'") as caught:
        run_pair("AB", {"A": side, "B": side}, jobs, timeout=120)
    assert str(caught.value).startswith("candidate")


def test_blocks_go_round_the_processors() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    found = [processor_of(number, threads=1) for number in range(2 * len(allowed))]
    assert found == [one for one in allowed for _ in range(2)]
    assert processor_of(0, threads=2) is None
