from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from qreg.data import get_dataset
from qreg.errors import MissingDataError
from qreg.gate.observe import Gate
from qreg.gate.samples import GATE_IMAGES, GateSamples, load_gate_samples
from qreg.measure.options import Options
from qreg.records.baseline import Snapshot
from qreg.records.case import Case


def _dataset(path: Path, index: np.ndarray) -> Path:
    """Test images of 4 x 4 pixels with these canonical indices."""
    rng = np.random.default_rng(0)
    count = len(index)
    images = rng.integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    labels = rng.integers(0, 4, count)
    labels[0] = 3
    np.savez(path, test_images=images, test_labels=labels, test_index=index)
    return path


@pytest.mark.parametrize(
    ("index", "full", "seen", "kept"),
    [
        (range(1500), False, 1000, 1000),
        (range(1500), True, 1500, 1000),
        (range(40), False, 40, 40),
        (range(40), True, 40, 40),
        (range(0, 3000, 2), False, 500, 500),
        (range(0, 3000, 2), True, 1500, 500),
        (range(999, 1003), False, 1, 1),
        # no canonical index below 1000: the first ones are the gate's
        (range(5000, 6500), False, 1000, 1000),
        (range(5000, 6500), True, 1500, 1000),
    ],
)
def test_the_gates_images_and_whose_logits_are_kept(
    own_cache: Path, tmp_path: Path, index: range, full: bool, seen: int, kept: int
) -> None:
    path = _dataset(tmp_path / "some.npz", np.array(index))
    samples = load_gate_samples(str(path), Options(), full=full)
    assert (len(samples.test), samples.kept) == (seen, kept)
    assert samples.images.index == tuple(index)[:seen]


def test_beyond_the_gates_images_predictions_are_kept_and_logits_are_not(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _dataset(tmp_path / "some.npz", np.arange(980, 1020))
    (tmp_path / "flat_nets.py").write_text(
        "from torch import nn\n"
        "def make_flat():\n    return nn.Sequential(nn.Flatten(), nn.Linear(48, 4))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    case = Case(str(path), "flat_nets:make_flat", "dynamic", "x86")
    few, all_of_them = (Gate(Options(), full=how).observe(case) for how in (False, True))
    assert isinstance(few, Snapshot)
    assert isinstance(all_of_them, Snapshot)
    assert (len(few.predictions), len(all_of_them.predictions)) == (20, 40)
    assert few.numerics.logits == all_of_them.numerics.logits
    assert few.numerics.logits.count == 20
    assert few.predictions == all_of_them.predictions[:20]
    assert few.numerics.reference == all_of_them.numerics.reference
    assert few.numerics.layers == all_of_them.numerics.layers


def test_images_are_named_by_their_pixels(own_cache: Path, colours: Path) -> None:
    samples = load_gate_samples(str(colours), Options(), full=False)
    pixels = np.load(colours)["test_images"]
    assert samples.images.digests == tuple(zlib.crc32(image.tobytes()) for image in pixels)
    assert samples.images.labels == tuple(n % 4 for n in range(40))


def test_first_images_are_model_inputs(own_cache: Path, colours: Path) -> None:
    samples = load_gate_samples(str(colours), Options(), full=False)
    first = samples.first(3)
    assert (first.shape, first.dtype) == ((3, 3, 32, 32), torch.float32)
    pixel = np.load(colours)["test_images"][2, 5, 7].astype(float)
    assert first[2, :, 5, 7].numpy() == pytest.approx((pixel / 255 - 0.5) / 0.25, abs=1e-5)
    assert len(samples.first(1000)) == 40


def test_a_limit_and_a_source_are_kept_to(own_cache: Path, colours: Path) -> None:
    options = Options(limit=7, sources=(("mine", str(colours)),))
    samples = load_gate_samples("mine", options, full=True)
    assert isinstance(samples, GateSamples)
    assert (len(samples.test), samples.dataset.name) == (7, get_dataset(str(colours)).name)
    assert GATE_IMAGES == 1000, "baselines rest on it"


def test_no_data(own_cache: Path) -> None:
    with pytest.raises(MissingDataError, match="no dataset at"):
        load_gate_samples("nowhere.npz", Options(), full=False)
