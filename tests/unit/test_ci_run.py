"""What `.ci/run` runs: a file of slow tests that no change runs fails unseen for days."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Files of slow tests that only nightly runs have, and why.
NIGHTLY = {
    "tests/examples/test_examples.py": "minutes each; test_in_short.py takes the same networks",
    "tests/unit/speed/compare/test_rule.py": "thousands of draws; smaller ones are in its file",
    "tests/unit/speed/test_instructions.py": "valgrind, for minutes",
}


def _list(name: str) -> list[str]:
    """The words of an array of the script."""
    script = (ROOT / ".ci" / "run").read_text()
    found = re.search(rf"^{name}=\((.*?)^\)", script, re.DOTALL | re.MULTILINE)
    assert found, name
    return shlex.split(found[1], comments=True)


def _in(name: str, listed: list[str]) -> bool:
    return any(name == one or name.startswith(f"{one}/") for one in listed)


def test_every_file_of_slow_tests_runs_for_every_change_or_is_named_here() -> None:
    listed = [name.partition("::")[0] for name in (*_list("slow"), *_list("own_stage"))]
    assert not [name for name in listed if not (ROOT / name).exists()]
    paths = [path for path in (ROOT / "tests").glob("**/test_*.py") if path != Path(__file__)]
    marked = {
        path.relative_to(ROOT).as_posix() for path in paths if "mark.slow" in path.read_text()
    }
    assert {name for name in marked if not _in(name, listed)} == set(NIGHTLY)


def test_what_is_left_to_the_night_is_a_test_of_a_listed_file() -> None:
    for name in _list("nightly"):
        path, test = name.split("::", 1)
        assert _in(path, _list("slow")), name
        assert f"def {test.partition('[')[0]}(" in (ROOT / path).read_text(), name
