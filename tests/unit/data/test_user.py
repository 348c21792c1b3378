from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qreg.data import get_dataset, load_split
from qreg.errors import ContractError, CorruptFileError, DataError, UnknownNameError


def _folder(root: Path, *, size: tuple[int, int] = (8, 8)) -> Path:
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(3):
                Image.new("RGB", size, (40 * k, 100 * number, 7)).save(folder / f"{k}.png")
    return root


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


def test_a_folder_of_images(own_cache: Path, tmp_path: Path) -> None:
    dataset = get_dataset(str(_folder(tmp_path / "pets")))
    split = load_split(dataset, "test")
    assert dataset.classes == ("cat", "dog")
    assert split.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert split.images[5, 0, 0].tolist() == [80, 100, 7]


def test_a_changed_file_is_read_anew(own_cache: Path, tmp_path: Path) -> None:
    root = _folder(tmp_path / "pets")
    before = load_split(get_dataset(str(root)), "test").fingerprint()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(root / "test" / "cat" / "0.png")
    assert load_split(get_dataset(str(root)), "test").fingerprint() != before


def test_images_of_several_sizes_are_refused(own_cache: Path, tmp_path: Path) -> None:
    root = _folder(tmp_path / "pets")
    Image.new("RGB", (9, 8)).save(root / "test" / "cat" / "0.png")
    with pytest.raises(DataError, match="several sizes"):
        load_split(get_dataset(str(root)), "test")


def test_a_class_that_is_only_in_train_is_refused(own_cache: Path, tmp_path: Path) -> None:
    root = _folder(tmp_path / "pets")
    (root / "train" / "cat").rename(root / "train" / "cow")
    with pytest.raises(DataError, match="class not in test"):
        load_split(get_dataset(str(root)), "train")


@pytest.mark.parametrize("name", ["nothing.npz", "no/such/folder"])
def test_nothing_there(name: str) -> None:
    with pytest.raises(DataError, match="no dataset at"):
        get_dataset(name)


def test_a_truncated_archive(own_cache: Path, colours: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.npz"
    path.write_bytes(colours.read_bytes()[:20_000])
    with pytest.raises(CorruptFileError, match="found sha256"):
        get_dataset(str(path))


def test_labels_beyond_the_classes(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    images = np.zeros((2, 2, 2, 3), np.uint8)
    np.savez(path, test_images=images, test_labels=[0, 3], classes=np.array(["a", "b"]))
    with pytest.raises(DataError, match="label 3 and 2 classes"):
        load_split(get_dataset(str(path)), "test")


def test_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError) as caught:
        get_dataset("cifar")
    assert "did you mean 'cifar10'" in caught.value.hint


def test_an_object_that_is_no_dataset() -> None:
    with pytest.raises(ContractError, match=r"not a qreg\.data\.Dataset"):
        get_dataset("json:dumps")
