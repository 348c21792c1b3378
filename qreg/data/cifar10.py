"""CIFAR-10, by torchvision's download or from a folder that holds it already.

Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from urllib.error import HTTPError

import numpy as np

from qreg.data.cache import cache_root, cached_split
from qreg.data.dataset import FIRST_CALIBRATION, FIRST_GATE_SAMPLES, Dataset, Progress
from qreg.data.files import file_sha256, read_npz, stat_key
from qreg.data.images import ImageSamples
from qreg.data.samples import SplitName
from qreg.errors import CorruptFileError, DataError, MissingDataError

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# The npz archives known to be lossless CIFAR-10. Others are only accepted with their sha256 in a
# file next to them (see read_npz).
KNOWN_NPZ: dict[str, str] = {
    "train": "b487a5de44b984deec817f721a9a25e56a7a407bf6851e13a5a9e37e60493b27",
    "test": "6cc4fc740937987c58214edc344eeb7b03eccdc9609193d7f3be75d938de100f",
}
_TORCHVISION = "cifar-10-batches-py"


def _load(split: SplitName, *, data_dir: Path | None, progress: Progress | None) -> ImageSamples:
    folders = [data_dir, data_dir / "cifar10"] if data_dir else [cache_root() / "cifar10"]
    for folder in folders:
        if (folder / f"cifar10-{split}.npz").is_file():
            return _from_npz(folder / f"cifar10-{split}.npz", split)
        if (folder / _TORCHVISION).is_dir():
            return _from_torchvision(folder, split)
    if data_dir:
        raise MissingDataError(
            f"no cifar10 in {data_dir}: tried {_tried(folders, split)}", hint=_HINT
        )
    _download(folders[0])
    return _from_torchvision(folders[0], split)


_HINT = (
    "point --data-dir or QREG_DATA_DIR at a folder with torchvision's cifar-10-batches-py/ or "
    "with cifar10-train.npz and cifar10-test.npz, or leave both unset to download it"
)


def _tried(folders: list[Path], split: str) -> str:
    names = (f"cifar10-{split}.npz", f"{_TORCHVISION}/")
    return ", ".join(f"{folder}/{name}" for folder in folders for name in names)


def _from_npz(path: Path, split: SplitName) -> ImageSamples:
    def build() -> ImageSamples:
        recorded = path.with_name(path.name + ".sha256").exists()
        pinned = None if recorded else KNOWN_NPZ[split]
        arrays = read_npz(path, ("images", "labels", "index"), sha256=pinned)
        if missing := {"images", "labels", "index"} - set(arrays):
            raise DataError(f"{path}: no array {', '.join(sorted(missing))}", hint=_HINT)
        labels, index = arrays["labels"].astype(np.int64), arrays["index"].astype(np.int64)
        return ImageSamples(images=arrays["images"], labels=labels, index=index)

    return cached_split(f"cifar10-{split}-{stat_key(path)}", build)


def _from_torchvision(folder: Path, split: SplitName) -> ImageSamples:
    batches = sorted((folder / _TORCHVISION).iterdir())

    def build() -> ImageSamples:
        from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10

        try:
            found = TorchvisionCIFAR10(str(folder), train=split == "train", download=False)
        except RuntimeError as error:
            raise _corrupt(folder) from error
        labels = np.asarray(found.targets, dtype=np.int64)
        return ImageSamples(images=found.data, labels=labels, index=np.arange(len(labels)))

    return cached_split(f"cifar10-{split}-{stat_key(*batches)}", build)


def _corrupt(folder: Path) -> CorruptFileError:
    from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10
    from torchvision.datasets.utils import calculate_md5

    hint = "the file is left unchanged: remove the folder to download it again"
    lists = [*TorchvisionCIFAR10.train_list, *TorchvisionCIFAR10.test_list]
    meta = TorchvisionCIFAR10.meta
    for name, md5 in [*map(tuple, lists), (meta["filename"], meta["md5"])]:
        path = folder / _TORCHVISION / name
        found = calculate_md5(str(path)) if path.exists() else "no file"
        if found != md5:
            return CorruptFileError(
                path,
                expected=f"torchvision's md5 {md5}",
                found=f"{found} (sha256 {file_sha256(path)})" if path.exists() else found,
                hint=hint,
            )
    return CorruptFileError(
        folder, expected="CIFAR-10", found="something torchvision cannot read", hint=hint
    )


def _download(folder: Path) -> None:
    """Download and unpack into a temporary folder, renamed to `folder` when verified."""
    from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10

    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix="cifar10.half-", dir=folder.parent))
    try:
        TorchvisionCIFAR10(str(half), download=True)
        (half / TorchvisionCIFAR10.filename).unlink()
        os.rename(half, folder)
    except (OSError, RuntimeError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise MissingDataError(
            f"no cifar10 in {folder}, and downloading {TorchvisionCIFAR10.url} failed: {error}",
            hint=_HINT,
        ) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


CIFAR10 = Dataset(
    name="cifar10",
    classes=CLASSES,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    load=_load,
    calibration=FIRST_CALIBRATION,
    samples=FIRST_GATE_SAMPLES,
    stored_as=(_TORCHVISION, "cifar10", "cifar10-train.npz", "cifar10-test.npz"),
)
