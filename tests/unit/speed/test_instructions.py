from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from qreg.errors import QregError
from qreg.records.case import Case
from qreg.speed import instructions
from qreg.speed.instructions import CountRequest, count_instructions, parse_totals
from qreg.speed.records import Counted
from qreg.speed.report.instructions import REPEATS_WITHIN, instructions_table
from tests.unit.speed.fake import CASES

ROOT = Path(__file__).parents[3]
LINEAR = Case("shapes10", "linear_100", "static", "x86")
_DUMP = b"""# callgrind format
version: 1
creator: callgrind-3.19.0
desc: Trigger: Client Request
positions: line
events: Ir
summary: 4812938

fn=(12) totals: 7 is a name
3 5

totals: 4812938
"""


def test_the_total_is_read() -> None:
    assert parse_totals(_DUMP) == 4_812_938


@pytest.mark.parametrize("content", [b"", b"totals: \n", _DUMP + b"totals: 3\n", _DUMP[:-9]])
def test_a_file_that_is_cut_or_odd_is_refused(content: bytes) -> None:
    with pytest.raises(QregError, match="totals where one was expected"):
        parse_totals(content)


def test_without_valgrind_it_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(QregError, match="not installed") as caught:
        count_instructions(CountRequest(CASES), (".",), ROOT)
    assert "apt-get install valgrind" in caught.value.hint


def fake_valgrind(folder: Path, *, dumps: int, instructions: int) -> None:
    """A program that starts the child's stead: it writes files as callgrind does."""
    script = f"""#!/bin/sh
for last; do case $last in --callgrind-out-file=*) out=${{last#*=}};; esac; done
n=1
while [ $n -le {dumps} ]; do echo "totals: $((n * {instructions}))" > "$out.$n"; n=$((n + 1)); done
: > "$out"
echo '{{"environment": {{}}}}' > "$last"
"""
    (folder / "valgrind").write_text(script)
    (folder / "valgrind").chmod(0o755)


def test_bursts_go_to_their_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than nine files: their order is that of numbers, not of names."""
    monkeypatch.setattr(instructions, "_BURSTS", 6)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake_valgrind(tmp_path, dumps=12, instructions=1000)
    request = CountRequest(CASES, calls=10)
    alone = count_instructions(request, (".",), ROOT)
    assert [one.case for one in alone] == list(CASES)
    assert alone[0].candidate == (100.0, 300.0, 500.0, 700.0, 900.0, 1100.0)
    assert alone[1].candidate == (200.0, 400.0, 600.0, 800.0, 1000.0, 1200.0)
    assert alone[0].baseline == ()
    both = count_instructions(request, (".", "."), ROOT)
    assert both[1].baseline == both[1].candidate == alone[1].candidate


def test_counts_that_are_missing_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake_valgrind(tmp_path, dumps=5, instructions=1000)
    with pytest.raises(QregError, match="5 counts of 6"):
        count_instructions(CountRequest(CASES), (".",), ROOT)


def test_a_side_that_fails_or_hangs_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for script, reason in (("exit 3", "exited 3"), ("sleep 60", "no result in 0.5 s")):
        (tmp_path / "valgrind").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "valgrind").chmod(0o755)
        with pytest.raises(QregError, match=reason):
            count_instructions(CountRequest(CASES, timeout=0.5), (".",), ROOT)


def test_a_change_within_the_repeatability_is_none() -> None:
    def counted(now: float) -> Counted:
        return Counted(LINEAR, (100_000.0, 100_000.0, 101_000.0), (now, now, now * 1.01))

    within, beyond = counted(100_000 * (1 + REPEATS_WITHIN) - 1), counted(103_000)
    console = Console(width=118, file=io.StringIO())
    console.print(instructions_table([within, beyond, Counted(LINEAR, (), (5.0, 5.0, 5.0))]))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "none" in said
    assert "+3.00" in said
    assert "103,000" in said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_real_counts_repeat() -> None:
    """PyTorch is imported under valgrind twice: some minutes."""
    (found,) = count_instructions(CountRequest((LINEAR,)), (".", "."), ROOT)
    assert min(found.candidate) > 10_000
    assert sorted(found.candidate)[1] == pytest.approx(sorted(found.baseline)[1], rel=0.01)
