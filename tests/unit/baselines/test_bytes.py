"""A byte that is another, or is gone, in a baseline's JSON or sidecars; and killed writers."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from qreg.baselines.encoding import checksum
from qreg.baselines.store import Store
from qreg.errors import CorruptFileError
from tests.unit.baselines import build

ROOT = Path(__file__).parents[3]
KEEP = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    Store(root).write(build.baseline())
    return root


def _files(root: Path) -> list[Path]:
    found = sorted(p for p in root.rglob("*") if p.suffix in (".json", ".safetensors"))
    assert len(found) == 3
    return found


def _same_or_refused(root: Path) -> bool:
    try:
        return Store(root).read(build.CASE) == (build.baseline(),)
    except CorruptFileError:
        return True


@KEEP
@given(which=st.integers(0, 2), where=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_flipped_byte_is_found(whole: Path, which: int, where: float, bits: int) -> None:
    path = _files(whole)[which]
    before = path.read_bytes()
    after = bytearray(before)
    after[int(where * len(before))] ^= bits
    path.write_bytes(after)
    try:
        assert _same_or_refused(whole)
    finally:
        path.write_bytes(before)


@KEEP
@given(which=st.integers(0, 2), where=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_found(whole: Path, which: int, where: float) -> None:
    path = _files(whole)[which]
    before = path.read_bytes()
    path.write_bytes(before[: int(where * len(before))])
    try:
        assert _same_or_refused(whole)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"null", b'{"format": 1, "format": 1}', b"[" * 100_000, b"9" * 5000],
    ids=lambda content: content[:12],
)
def test_what_is_no_baseline_at_all_is_refused(whole: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    store.path(build.CASE).write_bytes(content)
    for read in (lambda: store.read(build.CASE), store.cases, store.orphans):
        with pytest.raises(CorruptFileError, match="expected"):
            read()
    assert store.path(build.CASE).read_bytes() == content


def test_a_digit_changed_by_hand_is_found(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    path = store.path(build.CASE)
    path.write_text(path.read_text().replace('"sqnr_db":31.25', '"sqnr_db":21.25', 1))
    with pytest.raises(CorruptFileError, match=r"entries\[0\]: .*changed by hand"):
        store.read(build.CASE)


def test_a_folder_in_place_of_a_file_is_refused(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    store.path(build.CASE).unlink()
    store.path(build.CASE).mkdir()
    with pytest.raises(CorruptFileError, match="a readable file"):
        store.read(build.CASE)


def _resealed(root: Path, which: str, arrays: dict[str, Any]) -> Store:
    """A store whose sidecar has these arrays, and whose checksums agree with it."""
    store, content = Store(root), save(arrays)
    path = store.path(build.CASE)
    found = json.loads(path.read_text())
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"{sha256[:32]}.safetensors"
    (path.parent.parent / "sidecars" / name).write_bytes(content)
    entry = found["entries"][0]
    entry["sidecars"][which] = {"file": name, "sha256": sha256}
    entry["sha256"] = checksum(build.CASE, entry)
    path.write_text(json.dumps(found))
    return store


ODD: list[tuple[str, dict[str, Any], str]] = [
    ("images", {"index": np.arange(40, dtype=np.int64)}, "index: expected int32"),
    ("images", {"index": np.arange(40, dtype=np.int32)[::-1].copy()}, "not ascending"),
    ("images", {"index": np.arange(40, dtype=np.int32) - 1}, "0 or more"),
    ("images", {"labels": np.zeros(39, dtype=np.uint8)}, r"labels: .* shape \(40\)"),
    ("images", {"digests": np.zeros((40, 1), dtype=np.uint32)}, "digests: expected uint32"),
    ("images", {"more": np.zeros(1, dtype=np.uint8)}, "more: expected no more arrays"),
    ("arrays", {"predictions": np.zeros(40, dtype=np.uint16)}, "predictions: expected uint8"),
    ("arrays", {"predictions": np.zeros(41, dtype=np.uint8)}, r"predictions: .* shape \(40\)"),
    ("arrays", {"predictions": np.zeros(40, dtype=np.uint8)}, "recorded as correct"),
    ("arrays", {"disagreements": np.zeros((2, 2), dtype=np.int32)}, "disagreements: expected"),
    ("arrays", {"logits.codes": np.full((8, 10), 255, dtype=np.uint8)}, "logits.codes: expected"),
    ("arrays", {"logits.values": np.zeros(256, dtype=np.float32)}, "logits: expected logits of"),
    ("arrays", {"logits.values": np.zeros(2, dtype=np.float16)}, "logits.values: expected float"),
    ("arrays", {"logits": np.zeros((8, 10), dtype=np.float32)}, "logits: expected no more"),
    ("arrays", {"conv1.weight.scales": np.full(4, np.nan)}, "finite scales"),
    ("arrays", {"conv1.weight.scales": np.zeros(0)}, "finite scales"),
    ("arrays", {"conv1.weight.zero_points": np.zeros(3, dtype=np.int8)}, r"shape \(4\)"),
    ("arrays", {"conv1.weight.zero_points": np.zeros(4, dtype=np.int64)}, "int8 or uint8 or"),
    ("arrays", {"fc.weight.scales": np.ones(4)}, "fc.weight.scales: expected no more arrays"),
]


@pytest.mark.parametrize(("which", "changed", "message"), ODD)
def test_odd_arrays_are_refused_though_the_checksums_agree(
    whole: Path, tmp_path: Path, which: str, changed: dict[str, Any], message: str
) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    sidecars = json.loads(Store(whole).path(build.CASE).read_text())["entries"][0]["sidecars"]
    arrays = load((whole / "shapes10" / "sidecars" / sidecars[which]["file"]).read_bytes())
    store = _resealed(tmp_path / "copy", which, arrays | changed)
    with pytest.raises(CorruptFileError, match=message):
        store.read(build.CASE)


@pytest.mark.parametrize("which", ["images", "arrays"])
@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_array_is_named(whole: Path, tmp_path: Path, which: str, gone: int) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    sidecars = json.loads(Store(whole).path(build.CASE).read_text())["entries"][0]["sidecars"]
    arrays = load((whole / "shapes10" / "sidecars" / sidecars[which]["file"]).read_bytes())
    del arrays[sorted(arrays)[gone]]
    store = _resealed(tmp_path / "copy", which, arrays)
    with pytest.raises(CorruptFileError, match="no such array"):
        store.read(build.CASE)
