from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qreg.data import define_datasets, get_dataset
from qreg.data.draw import FIRST, Draw
from qreg.data.source import DatasetSource
from qreg.errors import MissingDataError
from qreg.gate.judge import judged
from qreg.gate.observe import Gate
from qreg.gate.samples import GateSamples, load_gate_samples
from qreg.measure.observation import Observation
from qreg.measure.options import Options
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case
from qreg.records.verdict import Outcome


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
        (range(0, 3000, 2), False, 1000, 1000),
        (range(0, 3000, 2), True, 1500, 1000),
        (range(5000, 6500), True, 1500, 1000),
    ],
)
def test_the_gates_samples_and_whose_outputs_are_kept(
    own_cache: Path, tmp_path: Path, index: range, full: bool, seen: int, kept: int
) -> None:
    path = _dataset(tmp_path / "some.npz", np.array(index))
    samples = load_gate_samples(str(path), Options(), full=full)
    assert (len(samples), len(samples.kept)) == (seen, kept)
    assert set(samples.index.tolist()) <= set(index)
    assert samples.index[samples.kept].tolist() == samples.gate.index.tolist()
    # the gate's batches are the same ones with and without the rest
    other = load_gate_samples(str(path), Options(), full=not full)
    assert samples.gate.index.tolist() == other.gate.index.tolist()


@pytest.mark.parametrize(
    ("index", "seen"),
    [
        (range(1500), range(1000)),
        (range(0, 3000, 2), range(0, 1000, 2)),
        (range(999, 1003), range(999, 1000)),
        # no canonical index below 1000: the first ones are the gate's
        (range(5000, 6500), range(5000, 6000)),
    ],
)
def test_the_first_samples_where_a_project_says_so(
    own_cache: Path, tmp_path: Path, index: range, seen: range
) -> None:
    path = _dataset(tmp_path / "some.npz", np.array(index))
    source = DatasetSource("mine", str(path), samples=Draw(1000, FIRST))
    define_datasets([source])
    try:
        found = load_gate_samples("mine", Options(), full=False)
    finally:
        define_datasets([])
    assert found.index.tolist() == list(seen)


def test_sorted_classes_are_all_sampled(own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "sorted.npz"
    labels = np.repeat([0, 1, 2], [1400, 50, 50])
    np.savez(path, test_images=np.zeros((1500, 2, 2, 3), np.uint8), test_labels=labels)
    found = load_gate_samples(str(path), Options(), full=False)
    assert found.gate.labels is not None
    assert np.bincount(found.gate.labels).tolist() == [934, 33, 33]
    assert found.notes == ()
    source = DatasetSource("sorted", str(path), samples=Draw(1000, FIRST))
    define_datasets([source])
    try:
        assert load_gate_samples("sorted", Options(), full=False).notes == (
            "no sample of class 1, 2 is judged",
        )
    finally:
        define_datasets([])


def test_with_gaps_in_the_index_the_whole_split_and_the_gate_cut_batches_alike(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dynamic layer's range is that of its batch: other batches are other logits."""
    path = _dataset(tmp_path / "some.npz", np.arange(0, 3300, 3))
    (tmp_path / "flat_nets.py").write_text(
        "from torch import nn\n"
        "def make_flat():\n    return nn.Sequential(nn.Flatten(), nn.Linear(48, 4))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    case = Case(str(path), "flat_nets:make_flat", "dynamic", "x86")
    few, all_of_them = (Gate(Options(), full=how).observe(case) for how in (False, True))
    assert isinstance(few, Snapshot)
    assert isinstance(all_of_them, Snapshot)
    assert (len(few.predictions), len(all_of_them.predictions)) == (1000, 1100)
    kept = all_of_them.numerics.logits
    assert few.numerics.logits.values == kept.values
    assert (kept.count, few.numerics.logits.rows) == (1000, ())
    assert few.predictions == tuple(all_of_them.predictions[row] for row in kept.rows)
    assert few.numerics.reference == all_of_them.numerics.reference
    assert few.numerics.layers == all_of_them.numerics.layers
    approval = Approval("first", "2026-01-01T00:00:00+00:00", "", "0.2.0")
    for now, before in ((few, all_of_them), (all_of_them, few)):
        _, verdict = judged(now, (Baseline(before, (approval,)),), alpha=0.01)
        assert verdict.outcome is Outcome.PASS, verdict.findings


def test_images_are_named_by_their_pixels(own_cache: Path, colours: Path) -> None:
    samples = load_gate_samples(str(colours), Options(), full=False)
    pixels = np.load(colours)["test_images"]
    labels = np.arange(40) % 4
    rows = np.zeros((40, 4), np.float32)
    seen = Observation(rows, 4, samples.index, labels, labels, None)
    images = samples.images(seen)
    assert images.digests == tuple(zlib.crc32(image.tobytes()) for image in pixels)
    assert images.labels == tuple(n % 4 for n in range(40))


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
    assert (len(samples), samples.dataset.name) == (7, get_dataset(str(colours)).name)
    assert samples.dataset.samples.size == 1000, "baselines rest on it"


def test_no_data(own_cache: Path) -> None:
    with pytest.raises(MissingDataError, match="no dataset at"):
        load_gate_samples("nowhere.npz", Options(), full=False)


def test_baselines_of_the_first_samples_stay_valid(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of formats 1 and 2 of a user's own dataset, whose settings say nothing."""
    path = _dataset(tmp_path / "some.npz", np.arange(1500))
    (tmp_path / "flat_nets.py").write_text(
        "from torch import nn\n"
        "def make_flat():\n    return nn.Sequential(nn.Flatten(), nn.Linear(48, 4))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    case = Case(str(path), "flat_nets:make_flat", "dynamic", "x86")
    old = Gate(Options())
    approval = Approval("first", "2026-01-01T00:00:00+00:00", "", "0.1.0")
    drawn = old.observe(case)
    assert isinstance(drawn, Snapshot)
    old.draw_as(str(path), (Baseline(replace(drawn, draw=""), (approval,)),))
    first = old.observe(case)
    assert isinstance(first, Snapshot)
    assert first.numerics.images.index == tuple(range(1000))
    assert (first.draw, drawn.draw) == ("", "stratified, seed 0")
    assert drawn.numerics.images.index != first.numerics.images.index
    old.draw_as(str(path), ())
    assert old.observe(case) == drawn
