"""Promises in the files of baselines: written beside the entries, and never at their cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qreg.baselines.applicable import choose_promise
from qreg.baselines.encoding import checksum
from qreg.baselines.store import Store
from qreg.errors import CorruptFileError, QregError
from qreg.records.baseline import Promise
from qreg.records.case import Case
from tests.unit.baselines import build

ELSEWHERE = replace(build.ENVIRONMENT, cpu="Another CPU")
LOGS = (1.25, 1.5, 1.0, 1.125)


def promise(**changes: Any) -> Promise:
    held = Promise(build.CASE, build.ENVIRONMENT, 8, LOGS, (build.approval("fast"),))
    return replace(held, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "baselines")
    found.write(build.baseline())
    return found


def content(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.path(build.CASE).read_text())
    return found


def test_what_was_promised_is_read_and_the_entries_stay(store: Store) -> None:
    before = content(store)["entries"]
    assert store.promises(build.CASE) == ()
    store.write_promise(promise())
    assert Store(store.root).promises(build.CASE) == (promise(),)
    assert content(store)["entries"] == before
    assert store.read(build.CASE) == (build.baseline(),)


def test_one_of_each_environment(store: Store) -> None:
    store.write_promise(promise())
    store.write_promise(promise(environment=ELSEWHERE))
    newer = promise(log_speed_ups=(2.0,) * 5, environment=replace(ELSEWHERE, numpy="9"))
    store.write_promise(newer)
    assert set(store.promises(build.CASE)) == {promise(), newer}
    chosen = choose_promise(store.promises(build.CASE), ELSEWHERE)
    assert chosen
    assert chosen[0] == newer
    assert chosen[1].exact
    third = replace(build.ENVIRONMENT, cpu="A third CPU")
    far = choose_promise(store.promises(build.CASE), third)
    assert far
    assert not far[1].exact
    assert choose_promise((), third) is None


def test_a_new_baseline_keeps_the_promises(store: Store) -> None:
    store.write_promise(promise())
    store.write(build.baseline(build.snapshot(seed=1)))
    assert store.promises(build.CASE) == (promise(),)
    assert store.orphans() != ()  # the replaced sidecar, as ever


def test_a_case_without_a_baseline_promises_nothing(store: Store) -> None:
    case = replace(build.CASE, method="dynamic")
    assert store.promises(case) == ()
    with pytest.raises(QregError, match="no baseline of"):
        store.write_promise(promise(case=case))
    assert not store.path(case).exists()


def test_the_first_format_is_still_read(store: Store) -> None:
    path = store.path(build.CASE)
    old = {**content(store), "format": 1}
    path.write_text(json.dumps(old))
    assert store.read(build.CASE) == (build.baseline(),)
    assert store.promises(build.CASE) == ()
    store.write_promise(promise())
    assert content(store)["format"] == 3
    assert store.promises(build.CASE) == (promise(),)


def _first(found: dict[str, Any]) -> dict[str, Any]:
    one: dict[str, Any] = found["promises"][0]
    return one


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown key": (lambda c: _first(c).update(extra=1), "promises[0].extra: expected only"),
    "no batch": (lambda c: _first(c).pop("batch"), "promises[0].batch: expected a value"),
    "whole number": (lambda c: _first(c).update(log_speed_ups=[1] * 4), "log_speed_ups[0]"),
    "too few": (lambda c: _first(c).update(log_speed_ups=[1.5]), "promises: expected values"),
    "no approval": (lambda c: _first(c).update(history=[]), "promises: expected values"),
    "twice": (lambda c: c["promises"].append(_first(c)), "promises[1].environment: expected each"),
    "in the first format": (lambda c: c.update(format=1), "promises: expected no promises"),
    "an object": (lambda c: c.update(promises={}), "promises: expected a list"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_a_damaged_promise_is_refused_with_its_key(
    store: Store, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    store.write_promise(promise())
    found = content(store)
    change(found)
    for one in found["promises"]:
        one["sha256"] = checksum(Case(**found["case"]), one)
    store.path(build.CASE).write_text(json.dumps(found))
    with pytest.raises(CorruptFileError) as caught:
        store.promises(build.CASE)
    assert message in str(caught.value)
    assert "restore it with git" in caught.value.hint


def test_a_digit_changed_by_hand_is_a_promise_that_nobody_approved(store: Store) -> None:
    store.write_promise(promise())
    path = store.path(build.CASE)
    path.write_text(path.read_text().replace("1.125", "0.125"))
    for read in (store.promises, store.read):
        with pytest.raises(CorruptFileError, match="changed by hand"):
            read(build.CASE)
