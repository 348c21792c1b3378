"""What torch does with undefined inputs, against the table of its version."""

from __future__ import annotations

import platform
from itertools import pairwise

import pytest

from tests.invariants.odd_inputs import LETHAL, VERSION, answers, moved, probes, table

_NAN_OBSERVED = (
    "utils.py, check_min_max_valid: `assert min_val <= max_val` became `if min_val > max_val: "
    "raise`, which NaN passes; no issue was found"
)
#: Why an answer moved, by the first version of the table that has the new one.
REASONS = {
    ("2.9.1", "fake per tensor nan, inf, -inf"): "clamped before the cast to int64; "
    "pytorch/pytorch#155109 mends pytorch/pytorch#116992",
    ("2.9.1", "fake per tensor scale 0.0"): "as above: x / 0 is infinite",
    ("2.14.1", "observer min-max of [nan, 1.0]"): _NAN_OBSERVED,
    ("2.14.1", "observer moving average of [nan, 1.0]"): _NAN_OBSERVED,
    ("2.14.1", "observer per channel of [nan, 1.0]"): _NAN_OBSERVED,
    ("2.14.1", "observer histogram of [3e38, -3e38]"): _NAN_OBSERVED,
    ("2.14.1", "dynamic linear of [inf, 1.0]"): "fbgemm's kernel, whose scale is infinite here, "
    "now gives NaN as oneDNN's always did; no issue was found",
}


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def pinned_for(version: str) -> dict[str, str]:
    """The answers of that version, else of the nearest older one: what has moved since?"""
    known = table()
    older = [v for v in known if _number(v) <= _number(version)]
    return known[version] if version in known else known[max(older, key=_number)]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the table is of x86-64 CPUs")
def test_answers_are_those_pinned_for_this_version() -> None:
    changes = moved(pinned_for(VERSION), answers())
    assert not changes, (
        f"torch {VERSION} answers otherwise than pinned; a finding, to be looked into before "
        "`python -m tests.invariants.odd_inputs --update`:\n" + "\n".join(changes)
    )


def test_every_change_between_versions_has_a_reason() -> None:
    known = table()
    versions = sorted(known, key=_number)
    found = {
        (new, line.partition(": ")[0])
        for old, new in pairwise(versions)
        for line in moved(known[old], known[new])
    }
    assert found == set(REASONS)


def test_every_probe_is_pinned_for_every_version() -> None:
    asked = {*probes(), *LETHAL}
    for version, known in table().items():
        assert set(known) == asked, f"run the update under torch {version}"


def test_a_probe_that_kills_its_process_is_an_answer() -> None:
    """Of 2.6 to 2.15, which all die of it."""
    known = table()
    name = "per channel float zero points"
    assert {known[version][name] for version in known} == {"dies of SIGILL"}


def test_a_changed_answer_is_a_finding() -> None:
    assert moved({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == ["b: 2 -> 3"]
    assert moved({"a": "1"}, {}) == ["a: 1 -> not asked"]
