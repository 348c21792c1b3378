from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from qreg.data import get_dataset, load_split, open_path
from qreg.data.images import ImageSamples
from qreg.errors import DataError


def _folder(root: Path, *, size: tuple[int, int] = (8, 8)) -> Path:
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(3):
                Image.new("RGB", size, (40 * k, 100 * number, 7)).save(folder / f"{k}.png")
    return root


def test_a_folder_of_images(own_cache: Path, tmp_path: Path) -> None:
    dataset = get_dataset(str(_folder(tmp_path / "pets")))
    split = load_split(dataset, "test")
    assert dataset.classes == ("cat", "dog")
    assert split.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert split.images[5, 0, 0].tolist() == [80, 100, 7]


def test_a_changed_file_is_read_again(own_cache: Path, tmp_path: Path) -> None:
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


def test_hidden_folders_are_no_classes_with_a_warm_cache_neither(
    own_cache: Path, tmp_path: Path
) -> None:
    root = _folder(tmp_path / "pets")
    before = load_split(get_dataset(str(root)), "test")
    stray = root / "test" / ".ipynb_checkpoints"
    stray.mkdir()
    Image.new("RGB", (8, 8)).save(stray / "0-checkpoint.png")
    dataset = get_dataset(str(root))
    assert dataset.classes == ("cat", "dog")
    assert load_split(dataset, "test").fingerprint() == before.fingerprint()


def test_a_new_class_shifts_labels_with_a_warm_cache_too(own_cache: Path, tmp_path: Path) -> None:
    root = _folder(tmp_path / "pets")
    load_split(get_dataset(str(root)), "train")
    (root / "test" / "ant").mkdir()
    Image.new("RGB", (8, 8)).save(root / "test" / "ant" / "0.png")
    found = load_split(get_dataset(str(root)), "train")
    assert found.labels is not None
    assert found.labels.tolist() == [1, 1, 1, 2, 2, 2]


def test_a_file_rewritten_with_the_same_size_and_time_is_read_again(
    own_cache: Path, tmp_path: Path
) -> None:
    root = _folder(tmp_path / "pets")
    path = root / "test" / "cat" / "0.png"
    before, times = load_split(get_dataset(str(root)), "test").fingerprint(), path.stat()
    content = bytearray(path.read_bytes())
    Image.new("RGB", (8, 8), (0, 0, 8)).save(path)
    assert len(path.read_bytes()) == len(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load_split(get_dataset(str(root)), "test").fingerprint() != before


@pytest.mark.parametrize(
    ("image", "pixel", "note"),
    [
        (
            Image.fromarray(np.full((8, 8), 0x8000, np.uint16)),
            (128, 128, 128),
            "1 images: 16-bit grey scaled to 8 bits",
        ),
        (Image.new("RGBA", (8, 8), (9, 8, 7, 100)), (9, 8, 7), "1 images: alpha channel dropped"),
        (Image.new("RGBA", (8, 8), (9, 8, 7, 255)), (9, 8, 7), ""),
        (Image.new("L", (8, 8), 77), (77, 77, 77), ""),
    ],
)
def test_modes_other_than_rgb_are_converted_and_reported(
    own_cache: Path, tmp_path: Path, image: Image.Image, pixel: tuple[int, ...], note: str
) -> None:
    root = _folder(tmp_path / "pets")
    image.save(root / "test" / "cat" / "0.png")
    for _ in range(2):  # decoded, and from the cache
        samples = load_split(get_dataset(str(root)), "test")
        assert isinstance(samples, ImageSamples)
        assert tuple(samples.images[0, 0, 0]) == pixel
        assert samples.notes == ((note,) if note else ())


def test_exif_orientation_is_applied(own_cache: Path, tmp_path: Path) -> None:
    root = _folder(tmp_path / "pets", size=(8, 6))
    wide = np.zeros((8, 6, 3), np.uint8)
    wide[0] = 255  # the top row, which is the left column of what the camera stored
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(wide)))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(root / "test" / "cat" / "0.png", exif=exif)
    with pytest.raises(DataError, match="several sizes"):  # 6 x 8 beside 8 x 6
        load_split(get_dataset(str(root)), "test")


def test_photos_of_several_sizes_with_a_torchvision_transform(
    own_cache: Path, tmp_path: Path
) -> None:
    root = _folder(tmp_path / "pets")
    Image.new("RGB", (300, 200), (10, 20, 30)).save(root / "test" / "cat" / "0.png")
    dataset = open_path(root, transform="torchvision:ResNet18_Weights.IMAGENET1K_V1")
    samples = load_split(dataset, "test")
    batches = list(samples.batches(4))
    assert [len(b) for b in batches] == [4, 2]
    assert isinstance(batches[0].inputs, torch.Tensor)
    assert batches[0].inputs.shape == (4, 3, 224, 224)
    assert torch.cat([b.targets for b in batches]).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_transform_of_the_users(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _folder(tmp_path / "pets")
    (tmp_path / "my_transforms.py").write_text(
        "import torch\ndef mean_colour(image):\n"
        "    return torch.tensor(image.getpixel((0, 0))).float()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    dataset = open_path(root, transform="my_transforms:mean_colour")
    batch = load_split(dataset, "test").first(2)
    assert isinstance(batch.inputs, torch.Tensor)
    assert batch.inputs.tolist() == [[0, 0, 7], [40, 0, 7]]


@pytest.mark.parametrize("name", ["torchvision:Nothing_Weights.V1", "os:sep"])
def test_what_is_no_transform(own_cache: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="transform"):
        load_split(open_path(_folder(tmp_path / "pets"), transform=name), "test")


def test_more_than_the_cache_takes_is_decoded_as_it_comes(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _folder(tmp_path / "pets")
    kept = load_split(get_dataset(str(root)), "test")
    monkeypatch.setattr("qreg.data.folder._MOST_CACHED", 100)
    streamed = load_split(get_dataset(str(root)), "test")
    assert not isinstance(streamed, ImageSamples)
    assert streamed.digests() == kept.digests()
    one, other = kept.first(6), streamed.first(6)
    assert isinstance(one.inputs, torch.Tensor)
    assert isinstance(other.inputs, torch.Tensor)
    assert torch.equal(one.inputs, other.inputs)
    assert one.targets.tolist() == other.targets.tolist()
