"""Whatever happens to a file, it is read as it was written, or refused with what to do."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qreg.baselines.encoding import checksum
from qreg.baselines.store import Store
from qreg.errors import CorruptFileError
from qreg.records.case import Case
from tests.unit.baselines import build

HINT = "qreg baseline update --reason TEXT shapes10/simple_cnn/static@x86"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    Store(root).write(build.baseline())
    return root


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Store:
    shutil.copytree(whole, tmp_path / "copy")
    return Store(tmp_path / "copy")


def _refused(store: Store) -> str:
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    with pytest.raises(CorruptFileError) as caught:
        store.read(build.CASE)
    assert HINT in caught.value.hint
    assert "restore it with git" in caught.value.hint
    assert str(store.root) in str(caught.value)
    assert {path: path.read_bytes() for path in before} == before
    return str(caught.value)


def _rewrite(store: Store, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON, and the entries' own sha256 with it, so that only the change is wrong."""
    path = store.path(build.CASE)
    content = json.loads(path.read_text())
    change(content)
    # what is no case, or no JSON, is refused before any checksum
    with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
        for entry in content["entries"]:
            entry["sha256"] = checksum(Case(**content["case"]), entry)
    path.write_text(json.dumps(content))


def _layer(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["entries"][0]["layers"][1]
    return found


def _entry(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["entries"][0]
    return found


def _sidecars(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _entry(content)["sidecars"]
    return found


OUTSIDE = "../../../secrets.safetensors"
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "newer format": (lambda c: c.update(format=4), "format: expected 3, the newest"),
    "format as text": (lambda c: c.update(format="1"), "format: expected 3"),
    "format true": (lambda c: c.update(format=True), "format: expected 3"),
    "no format": (lambda c: c.pop("format"), "format: expected 3"),
    "no case": (lambda c: c.pop("case"), "case: expected a value, found no such key"),
    "another case": (lambda c: c["case"].update(model="x"), "case: expected"),
    "unknown key": (lambda c: c.update(extra=1), "extra: expected only case, entries, form"),
    "unknown entry key": (lambda c: _entry(c).update(extra=1), "entries[0].extra: expected only"),
    "unknown deep key": (lambda c: _layer(c).update(extra=1), "entries[0].layers[1].extra:"),
    "missing key": (lambda c: _layer(c).pop("kind"), "entries[0].layers[1].kind: expected a value"),
    "no reference": (lambda c: _entry(c).pop("reference"), "entries[0].reference: expected a v"),
    "entries an object": (lambda c: c.update(entries={}), "entries: expected a list"),
    "entry a list": (lambda c: c["entries"].append([]), "entries[1]: expected an object"),
    "true for a number": (
        lambda c: _entry(c)["accuracy"].update(correct=True),
        "entries[0].accuracy.correct: expected a whole number, not negative, found bool True",
    ),
    "1 for true": (lambda c: _entry(c)["environment"].update(vnni=1), "environment.vnni: expected"),
    "float for int": (lambda c: _entry(c)["size"].update(file_bytes=1.0), "size.file_bytes: exp"),
    "int for float": (lambda c: _layer(c).update(sqnr_db=31), "entries[0].layers[1].sqnr_db: exp"),
    "text for float": (lambda c: _layer(c).update(sqnr_db="31"), "layers[1].sqnr_db: expected a"),
    "number for text": (lambda c: _layer(c).update(name=3), "entries[0].layers[1].name: expected"),
    "null for a list": (lambda c: _entry(c).update(warnings=None), "entries[0].warnings: expected"),
    "NaN": (lambda c: _layer(c).update(sqnr_db=float("nan")), "expected finite numbers, found NaN"),
    "Infinity": (lambda c: _layer(c).update(sqnr_db=float("inf")), "found Infinity"),
    "-Infinity": (lambda c: _layer(c).update(sqnr_db=-float("inf")), "found -Infinity"),
    "negative count": (lambda c: _entry(c)["size"].update(file_bytes=-1), "size.file_bytes: exp"),
    "negative operator": (
        lambda c: _entry(c)["operators"].update({"aten::linear": -1}),
        "entries[0].operators['aten::linear']: expected a whole number",
    ),
    "operator that never ran": (
        lambda c: _entry(c)["operators"].update({"aten::linear": 0}),
        "aten::linear ran 0 times",
    ),
    "range of three": (
        lambda c: _entry(c).update(calibration=[[0, 1, 2]]),
        "entries[0].calibration[0]: expected a list of 2",
    ),
    "endless range": (
        lambda c: _entry(c).update(calibration=[[0, 10**15]]),
        "entries[0].calibration: expected [start, stop)",
    ),
    "empty range": (lambda c: _entry(c).update(calibration=[[5, 5]]), "entries[0].calibration: "),
    "no approval": (lambda c: _entry(c).update(history=[]), "a baseline without an approval"),
    "unknown outcome": (
        lambda c: _entry(c)["history"][0].update(
            replaced={
                "outcome": "FINE",
                "correct": 1,
                "new_correct": 1,
                "total": 1,
                "flips": 0,
                "p_value": 1.0,
            }
        ),
        "entries[0].history[0].replaced.outcome: expected one of PASS",
    ),
    "scale without zero point": (
        lambda c: _layer(c)["output"].update(zero_points=[]),
        "1 scales, 0 zero points",
    ),
    "wrong count": (
        lambda c: _entry(c)["accuracy"].update(correct=36),
        "36 recorded as correct, 35 are",
    ),
    "wrong total": (lambda c: _entry(c)["accuracy"].update(total=41), "accuracy.total: expected"),
    "twice one environment": (
        lambda c: c["entries"].append(_entry(c)),
        "entries[1].environment: expected each environment once",
    ),
    "layer without arrays": (
        lambda c: _layer(c).update(name="conv9"),
        "entries[0].sidecars.arrays.conv9.weight.scales: expected",
    ),
    "arrays without layer": (
        lambda c: _layer(c).update(weight=None),
        "entries[0].sidecars.arrays.conv2.weight.scales: expected no more arrays",
    ),
    "logits digest": (
        lambda c: _entry(c)["logits"].update(digest="0" * 64),
        "entries[0].sidecars.arrays.logits: expected logits of sha256 000",
    ),
    "logits shape": (lambda c: _entry(c)["logits"].update(count=9), "logits.codes: expected uint8"),
    "no logits": (lambda c: _entry(c)["logits"].update(count=0), "entries[0].sidecars.arrays.log"),
    "sidecar outside": (
        lambda c: _sidecars(c)["arrays"].update(file=OUTSIDE),
        "entries[0].sidecars.arrays: expected a Sidecar that agrees with itself, found file",
    ),
    "sidecar elsewhere": (
        lambda c: _sidecars(c)["images"].update(sha256="../" * 10 + "x" * 34, file="../" * 10),
        "entries[0].sidecars.images: expected a Sidecar",
    ),
    "sidecar missing": (
        lambda c: _sidecars(c)["arrays"].update(file="0" * 32 + ".safetensors", sha256="0" * 64),
        "expected a readable file, found no such file",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_odd_json_is_refused_and_the_key_named(
    store: Store, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    _rewrite(store, change)
    assert message in _refused(store)
