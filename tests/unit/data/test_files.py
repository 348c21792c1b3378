from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from qreg.data.files import file_sha256, read_image, read_npz, stat_key
from qreg.errors import CorruptFileError, DataError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, a=np.arange(1000), b=np.ones(3))
    return path


def test_reads_the_arrays_that_are_there(archive: Path) -> None:
    found = read_npz(archive, ("a", "c"))
    assert list(found) == ["a"]
    assert found["a"].tolist() == list(range(1000))


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damage_is_named_and_the_file_left_as_it_is(archive: Path, damage: str) -> None:
    content = bytearray(archive.read_bytes())
    if damage == "flip":
        content[len(content) // 3] ^= 0xFF
    else:
        del content[0 if damage == "empty" else len(content) // 2 :]
    archive.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"data\.npz.*(sha256|readable npz archive)"):
        read_npz(archive, ("a", "b"))
    assert archive.read_bytes() == content


def test_expected_and_found_sha256_are_both_reported(archive: Path) -> None:
    with pytest.raises(CorruptFileError) as caught:
        read_npz(archive, ("a",), sha256="0" * 64)
    assert "0" * 64 in str(caught.value)
    assert file_sha256(archive) in str(caught.value)


def test_a_recorded_sha256_is_verified(archive: Path) -> None:
    beside = archive.with_name("data.npz.sha256")
    beside.write_text(f"{file_sha256(archive)}  data.npz\n")
    assert "a" in read_npz(archive, ("a",))
    beside.write_text("f" * 64)
    with pytest.raises(CorruptFileError, match="f" * 64):
        read_npz(archive, ("a",))


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(CorruptFileError, match="without pickled objects"):
        read_npz(path, ("a",))


def test_stat_key_changes_with_the_file(archive: Path) -> None:
    before = stat_key(archive)
    assert stat_key(archive) == before
    stat = archive.stat()
    os.utime(archive, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert stat_key(archive) != before


def test_an_image_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "no.png"
    path.write_text("not an image")
    with pytest.raises(DataError, match=r"no\.png"):
        read_image(path)
