"""Change the oracle in one place at a time, and see which property fails.

    python -m tests.faults.mutate_oracle                     # every mutant; prints the table
    python -m tests.faults.mutate_oracle --only ranges.py
    python -m tests.faults.mutate_oracle --write docs/evidence/mutants.md

Exit code 1 if a mutant that is not known to be equivalent survives.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.faults.equivalent import EQUIVALENT
from tests.faults.mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
ORACLE = Path("qreg/quantization/reference")
#: The properties that are run against the mutants of a file, most telling first.
SUITES = {
    "affine.py": ("affine", "channels", "oracle"),
    "kernels.py": ("linear", "conv", "pointwise", "dynamic", "oracle"),
    "ranges.py": ("observers", "oracle"),
    "requantization.py": ("linear", "pointwise", "conv"),
    "rounding.py": ("affine", "pointwise", "channels", "oracle"),
    "saturation.py": ("saturating_cpus", "oracle"),
}
#: The most telling suite for a function, where it is not its file's first.
FIRST = {
    **dict.fromkeys(("conv2d", "patches", "_positions", "group_columns", "as_images"), "conv"),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "real_steps", "round_half_away"), "pointwise"),
    **dict.fromkeys(("to_float32", "_quantum", "exact_scale"), "oracle"),
    "channelwise": "channels",
    "_at_least": "oracle",
}
#: Far beyond the slowest suite; a mutant that runs so long is in an endless loop.
SECONDS = 300
BEGIN, END = "<!-- mutants: begin -->", "<!-- mutants: end -->"


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant; `caught_by` is "" if nothing failed."""

    file: str
    mutant: Mutant
    caught_by: str
    equivalent: str = ""

    @property
    def survived(self) -> bool:
        return not self.caught_by and not self.equivalent

    def row(self) -> str:
        """A line of the table."""
        change = f"`{_cell(self.mutant.before)}` → `{_cell(self.mutant.after)}`"
        caught = self.caught_by or (f"equivalent: {self.equivalent}" * bool(self.equivalent))
        return f"| {self.file}:{self.mutant.line} | {change} | {caught or '**survived**'} |"


def _cell(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= 72 else line[:69] + "..."


#: Few examples first: they catch most mutants in a fraction of the time.
PROFILES = ("mutants-few", "mutants")


def first_failure(folder: Path, suites: Sequence[str]) -> str:
    """What fails first on the copy in `folder`, "" if nothing does."""
    return next((f for p in PROFILES if (f := run_in_child(folder, suites, p))), "")


def run_in_child(folder: Path, suites: Sequence[str], profile: str) -> str:
    """Run the suites in a forked process; "" or what failed first."""
    log = folder / "output.txt"
    child = os.fork()
    if child == 0:
        try:
            _become_pytest(folder, suites, profile, log)
        finally:
            os._exit(99)  # never back into the parent's clean-up
    code = _wait(child)
    if code is None:
        return "the time limit"
    if code == 0:
        return ""
    text = log.read_text(errors="replace")
    failed = re.search(r"^FAILED tests/invariants/test_(\S+?)(?:\[| - |$)", text, re.MULTILINE)
    if failed:
        return failed[1].replace(".py::", ": ")
    broken = re.search(r"^E +(\w+(?:Error|Exception).*)", text, re.MULTILINE)
    return f"import: {broken[1][:60]}" if broken else f"pytest's exit code {code}"


def _become_pytest(folder: Path, suites: Sequence[str], profile: str, log: Path) -> None:
    """Never returns. Torch is loaded already; the mutated package is not."""
    import pytest

    os.setsid()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(folder)
    os.environ.update(HYPOTHESIS_PROFILE=profile, OMP_NUM_THREADS="1")
    sys.path[:] = [str(folder), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
    for name in [n for n in sys.modules if n.split(".")[0] in ("qreg", "tests")]:
        del sys.modules[name]
    files = [f"tests/invariants/test_{suite}.py" for suite in suites]
    # hypothesis is loaded before pytest could rewrite it: that is the point of forking.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-n0", *quiet, *files])
    sys.stdout.flush()
    os._exit(int(code))


def _wait(child: int) -> int | None:
    """The exit code, or None after the time limit."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def copy_of_project(folder: Path) -> Path:
    """What the properties need, where it can be changed."""
    nothing_compiled = shutil.ignore_patterns("__pycache__")
    for part in ("qreg", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=nothing_compiled)
    shutil.copy(ROOT / "pyproject.toml", folder)
    # Only read: the checkpoints are large.
    (folder / "baselines").symlink_to(ROOT / "baselines")
    return folder


def suites_for(file: str, function: str) -> tuple[str, ...]:
    """The suites of a file, the most telling for the function first."""
    return tuple(dict.fromkeys([*filter(None, [FIRST.get(function)]), *SUITES[file]]))


def judge(file: str, mutant: Mutant, folder: Path) -> Outcome:
    """Put the mutant into the copy, run its suites, put the original back."""
    path = folder / ORACLE / file
    original = path.read_text()
    path.write_text(mutant.source)
    try:
        caught = first_failure(folder, suites_for(file, mutant.function))
    finally:
        path.write_text(original)
    reason = EQUIVALENT.get((file, mutant.line, mutant.before, mutant.after), "")
    return Outcome(file, mutant, caught, reason)


def run(only: Sequence[str], jobs: int) -> list[Outcome]:
    """The outcomes of all mutants, in order. Nothing of the project itself is changed."""
    files = [name for name in SUITES if not only or name in only]
    todo = [
        (name, mutant)
        for name in files
        for mutant in mutants_of((ROOT / ORACLE / name).read_text())
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folders: SimpleQueue[Path] = SimpleQueue()
        for job in range(jobs):
            folders.put(copy_of_project(Path(scratch) / f"job{job}"))
        for name in files:
            folder = folders.get()
            if broken := run_in_child(folder, SUITES[name], PROFILES[0]):
                sys.exit(f"the suites of {name} fail without a mutant: {broken}")
            folders.put(folder)

        def one(item: tuple[str, Mutant]) -> Outcome:
            folder = folders.get()
            try:
                return _shown(judge(*item, folder))
            finally:
                folders.put(folder)

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, todo))


def _shown(outcome: Outcome) -> Outcome:
    print(outcome.row(), file=sys.stderr, flush=True)
    return outcome


def table(outcomes: Sequence[Outcome]) -> str:
    """The table, and a last line that counts."""
    equivalent = sum(bool(o.equivalent) and not o.caught_by for o in outcomes)
    survived = sum(o.survived for o in outcomes)
    caught = len(outcomes) - equivalent - survived
    head = ["| where | mutant | caught by |", "|---|---|---|"]
    counts = (
        f"{len(outcomes)} mutants: {caught} caught, {equivalent} equivalent, {survived} survived."
    )
    return "\n".join([*head, *(o.row() for o in outcomes), "", counts])


def write_into(path: Path, text: str) -> None:
    """Put the table between its two marks in a document."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="FILE", choices=list(SUITES))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", type=Path, help="the document whose table is replaced")
    chosen = parser.parse_args()
    _load()
    outcomes = run(chosen.only, chosen.jobs)
    text = table(outcomes)
    print(text)
    if chosen.write:
        write_into(chosen.write, text)
    return int(any(outcome.survived for outcome in outcomes))


def _load() -> None:
    """Load once what every child needs; a fork is then all it takes to start one."""
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in ("pytest", "hypothesis.strategies", "torch.ao.quantization.fx._decomposed"):
        importlib.import_module(name)
    # A pool of threads does not survive a fork.
    importlib.import_module("torch").set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
