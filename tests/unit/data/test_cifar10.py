from __future__ import annotations

import functools
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qreg.data.cifar10 import CIFAR10, CLASSES
from qreg.data.dataset import FIRST_CALIBRATION
from qreg.errors import CorruptFileError, DataError

KEY = "cifar-10-python.tar.gz"


def _load(split: str, folder: Path | None) -> object:
    return CIFAR10.load(split, data_dir=folder, progress=None)  # type: ignore[arg-type]


def test_the_real_test_images(cifar10_dir: Path) -> None:
    split = CIFAR10.load("test", data_dir=cifar10_dir, progress=None)
    assert split.images.shape[1:] == (32, 32, 3)
    assert 9_900 < len(split) <= 10_000
    assert set(range(1_000)) <= set(split.index.tolist())
    # label and mean of the first test images, from the official files
    assert split.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert np.bincount(split.labels).min() > 980


def test_every_calibration_image_is_there(cifar10_dir: Path) -> None:
    train = CIFAR10.load("train", data_dir=cifar10_dir, progress=None)
    assert len(train.take(range(FIRST_CALIBRATION.size))) == FIRST_CALIBRATION.size == 512


def test_a_folder_without_it_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"tried .*cifar10-test\.npz.*cifar-10-batches-py"
    ) as caught:
        _load("test", tmp_path)
    assert "QREG_DATA_DIR" in caught.value.hint


def test_an_altered_npz(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "cifar10-test.npz"
    images = np.zeros((2, 32, 32, 3), np.uint8)
    np.savez(path, images=images, labels=np.zeros(2, np.uint8), index=np.arange(2))
    with pytest.raises(CorruptFileError, match=r"expected sha256 [0-9a-f]{64}, found sha256"):
        _load("test", tmp_path)
    assert path.exists()


def test_a_copy_of_ones_own_with_its_sha256_recorded(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "cifar10-test.npz"
    images = np.zeros((2, 32, 32, 3), np.uint8)
    np.savez(path, images=images, labels=np.zeros(2, np.uint8), index=np.arange(2))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
    assert len(CIFAR10.load("test", data_dir=tmp_path, progress=None)) == 2


def _archive() -> tuple[bytes, dict[str, bytes]]:
    """An archive in torchvision's layout, of a few made-up images a batch."""
    files = {}
    for number, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        data = np.full((4, 3072), number, np.uint8)
        files[name] = pickle.dumps({"data": data, "labels": [number] * 4}, protocol=2)
    files["batches.meta"] = pickle.dumps({"label_names": list(CLASSES)}, protocol=2)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            about = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return buffer.getvalue(), files


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A web server on this machine with a small archive; torchvision is told its checksums.

    The real archive is not at hand here; what is tested is the way it takes.
    """
    torchvision = pytest.importorskip("torchvision.datasets")
    content, files = _archive()
    served = tmp_path / "served"
    served.mkdir()
    (served / KEY).write_bytes(content)
    handler = functools.partial(_Quiet, directory=str(served))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    known = torchvision.CIFAR10
    md5 = {name: hashlib.md5(c).hexdigest() for name, c in files.items()}
    train = [[f"data_batch_{k}", md5[f"data_batch_{k}"]] for k in range(1, 6)]
    monkeypatch.setattr(known, "url", f"http://127.0.0.1:{httpd.server_port}/{KEY}")
    monkeypatch.setattr(known, "tgz_md5", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(known, "train_list", train)
    monkeypatch.setattr(known, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": md5["batches.meta"]})
    yield served
    httpd.shutdown()
    thread.join()
    httpd.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_download_into_the_cache(own_cache: Path, server: Path) -> None:
    train = CIFAR10.load("train", data_dir=None, progress=None)
    test = CIFAR10.load("test", data_dir=None, progress=None)
    assert (len(train), len(test)) == (20, 4)
    assert test.images[0, 0, 0].tolist() == [5, 5, 5]
    assert sorted(p.name for p in own_cache.iterdir()) == ["cifar10", "decoded"]
    (server / KEY).unlink()
    assert len(CIFAR10.load("train", data_dir=None, progress=None)) == 20, "no second download"


@pytest.mark.parametrize("what", ["missing", "altered", "truncated"])
def test_a_download_that_fails_leaves_nothing(own_cache: Path, server: Path, what: str) -> None:
    content = (server / KEY).read_bytes()
    if what == "missing":
        (server / KEY).unlink()
    else:
        (server / KEY).write_bytes(content[:-50] if what == "truncated" else b"x" + content)
    with pytest.raises(DataError, match=r"downloading .* failed") as caught:
        _load("test", None)
    assert "--data-dir" in caught.value.hint
    assert list(own_cache.iterdir()) == []


def test_no_network(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    monkeypatch.setattr(torchvision.CIFAR10, "url", f"http://127.0.0.1:9/{KEY}")
    with pytest.raises(DataError, match=r"downloading .* failed"):
        _load("test", None)


def test_an_altered_batch_file(own_cache: Path, server: Path) -> None:
    CIFAR10.load("test", data_dir=None, progress=None)
    batch = own_cache / "cifar10" / "cifar-10-batches-py" / "test_batch"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=r"test_batch: expected torchvision's md5"):
        _load("test", None)
    assert batch.exists()
