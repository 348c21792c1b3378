from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from qreg.data import get_dataset, load_split
from qreg.errors import CorruptFileError, DataError


def test_an_npz_archive(own_cache: Path, colours: Path) -> None:
    dataset = get_dataset(str(colours))
    assert dataset.name == "colours"
    assert dataset.classes == ("red", "green", "blue", "grey")
    assert len(load_split(dataset, "train")) == 96
    assert load_split(dataset, "test").labels.tolist()[:5] == [0, 1, 2, 3, 0]


def test_an_npz_archive_with_indices_comes_sorted(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    np.savez(path, test_images=images, test_labels=[0, 1, 1], test_index=[9, 4, 7])
    split = load_split(get_dataset(str(path)), "test")
    assert split.index.tolist() == [4, 7, 9]
    assert split.images[:, 0, 0, 0].tolist() == [1, 2, 0]


def test_a_truncated_archive(own_cache: Path, colours: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.npz"
    path.write_bytes(colours.read_bytes()[:20_000])
    with pytest.raises(CorruptFileError, match="readable npz archive"):
        get_dataset(str(path))


def test_labels_beyond_the_classes(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    images = np.zeros((2, 2, 2, 3), np.uint8)
    np.savez(path, test_images=images, test_labels=[0, 3], classes=np.array(["a", "b"]))
    with pytest.raises(DataError, match="label 3 and 2 classes"):
        load_split(get_dataset(str(path)), "test")


def _images(**changes: object) -> dict[str, object]:
    given: dict[str, object] = {
        "test_images": np.zeros((4, 2, 2, 3), np.uint8),
        "test_labels": np.array([0, 1, 2, 0]),
    }
    return given | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"test_labels": np.array([[0], [1], [2], [0]])},
        {"test_labels": np.array([0.0, 1.0, 2.0, 0.0])},
        {"test_labels": np.array([0, 1, 2])},
        {"test_labels": np.array([0, 1, 2, 10**8])},
        {"test_labels": np.array([0, 1, 2, 1 << 31])},
        {"test_labels": np.array(3)},
        {"test_labels": np.array(["a", "b", "c", "d"])},
        {"test_labels": np.array([-1, 0, 1, 2])},
        {"test_images": np.zeros((4, 2, 2), np.uint8)},
        {"test_images": np.array(7)},
        {"test_images": np.zeros(4, dtype=[("a", "u1"), ("b", "f4")])},
        {"test_index": np.array([0.5, 1.5, 2.5, 3.5])},
        {"test_index": np.array([0, 1, 2, 2])},
        {"test_index": np.array(5)},
        {"std": np.array([0.1, 0.0, 0.1])},
        {"std": np.array([0.1, np.nan, 0.1])},
        {"std": np.array([0.1, -0.2, 0.1])},
        {"mean": np.array([np.inf, 0.0, 0.0])},
        {"mean": np.array(["a", "b", "c"])},
        {"mean": np.array(0.5)},
        {"classes": np.array(3)},
    ],
    ids=str,
)
def test_data_that_cannot_be_data_is_named(
    own_cache: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    np.savez(tmp_path / "odd.npz", **_images(**changes))  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        load_split(get_dataset(str(tmp_path / "odd.npz")), "test")
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_an_npy_named_npz(own_cache: Path, tmp_path: Path) -> None:
    with (tmp_path / "odd.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(CorruptFileError):
        get_dataset(str(tmp_path / "odd.npz"))


def test_an_empty_sha256_file(own_cache: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "odd.npz", **_images())  # type: ignore[arg-type]
    (tmp_path / "odd.npz.sha256").write_text("")
    with pytest.raises(CorruptFileError, match="sha256"):
        get_dataset(str(tmp_path / "odd.npz"))


def test_a_header_that_promises_more_than_there_is_allocates_nothing(
    own_cache: Path, tmp_path: Path
) -> None:
    """16 GB of labels in a header, 32 bytes in the file."""
    path = tmp_path / "odd.npz"
    np.savez(path, **_images())  # type: ignore[arg-type]
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = members["test_labels.npy"]
    wide = header.replace(b"'shape': (4,), }           ", b"'shape': (2147483648,), }  ")
    assert wide != header
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, wide if name == "test_labels.npy" else content)
    with pytest.raises(CorruptFileError, match="2147483648"):
        get_dataset(str(path))


def test_inputs_of_any_kind_by_name(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.npz"
    ids, mask = np.arange(12).reshape(4, 3), np.ones((4, 3), bool)
    arrays = {"test_inputs.ids": ids, "test_inputs.mask": mask, "test_targets": [1, 0, 1, 0]}
    np.savez(path, **arrays, test_index=[3, 1, 2, 8])  # type: ignore[arg-type]
    samples = load_split(get_dataset(str(path)), "test")
    batch = samples.first(2)
    assert batch.index.tolist() == [1, 2]
    assert isinstance(batch.inputs, dict)
    assert batch.inputs["ids"].tolist() == [[3, 4, 5], [6, 7, 8]]
    assert batch.inputs["mask"].dtype == torch.bool
    assert batch.targets.tolist() == [0, 1]
    assert samples.labels is not None
    assert samples.take([8]).digests() == samples.digests()[3:]


def test_real_valued_targets_are_no_labels(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    np.savez(path, test_inputs=np.ones((3, 5), np.float32), test_targets=[[0.5], [1.5], [2.5]])
    samples = load_split(get_dataset(str(path)), "test")
    assert samples.labels is None
    batch = samples.first(3)
    assert isinstance(batch.inputs, torch.Tensor)
    assert batch.targets.shape == (3, 1)


_MEMORY = """
import resource, sys
from qreg.data import get_dataset, load_split
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first = load_split(get_dataset(sys.argv[1]), "test").first(8)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_arrays_are_unpacked_to_disk_not_memory(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    np.savez_compressed(path, test_inputs=np.zeros((300, 1 << 18), np.float32))
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 150, "300 MB are unpacked"
