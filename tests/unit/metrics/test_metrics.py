from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.metrics.accuracy import accuracy
from qreg.metrics.agreement import agreement
from qreg.metrics.latency import latency, time_interleaved
from qreg.metrics.size import model_size
from qreg.models import build_model


def _split(labels: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and canonical indices."""
    return np.array(labels), np.arange(len(labels)) * 3


def test_accuracy_counts_by_class_and_keeps_predictions_by_index() -> None:
    found = accuracy(np.array([0, 1, 1, 2]), *_split([0, 1, 2, 2]), classes=("a", "b", "c"))
    assert (found.correct, found.total) == (3, 4)
    assert [(c.name, c.correct, c.total) for c in found.classes] == [
        ("a", 1, 1),
        ("b", 1, 1),
        ("c", 1, 2),
    ]
    assert found.index == (0, 3, 6, 9)
    assert found.predictions == (0, 1, 1, 2)
    assert found.low < 0.75 < found.high


def test_flips_name_the_image_and_both_predictions() -> None:
    split = _split([0, 1, 2, 2])
    found = agreement(np.array([0, 2, 2, 0]), np.array([0, 1, 0, 1]), *split, name="fp32")
    assert [(f.index, f.label, f.reference, f.observed) for f in found.flips] == [
        (3, 1, 1, 2),
        (6, 2, 0, 2),
        (9, 2, 1, 0),
    ]
    assert (found.lost, found.won, found.change) == (1, 1, 0.0)
    assert found.p_value == 1.0
    assert found.detectable == 1.0, "four images cannot show any drop"


def test_weights_of_linear_100_shrink_from_40000_to_10000_bytes() -> None:
    model = build_model("linear_100")
    before = model_size(model)
    after = model_size(ao.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8))
    assert (before.weight_bytes, after.weight_bytes) == (40_000, 10_000)
    assert (before.float_layers, after.float_layers) == (("linear",), ())
    assert before.file_bytes > 40_000 > after.file_bytes > 10_000


def test_a_layers_tensors_are_distinguished() -> None:
    model = build_model("linear_100")
    found = model_size(ao.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8))
    roles = {(t.layer, t.role.value, t.dtype, t.elements) for t in found.tensors}
    assert ("linear", "weight", "qint8", 10_000) in roles
    assert ("linear", "bias", "float32", 100) in roles


def test_fused_layers_keep_their_names() -> None:
    model = ao.fuse_modules(build_model("simple_cnn"), [["conv1", "relu1"]])
    layers = {t.layer for t in model_size(model).tensors}
    assert {"conv1", "conv2", "fc3"} <= layers
    assert "conv1.0" not in layers


def test_latency_is_per_image_and_paired() -> None:
    seconds = np.array([[0.01, 0.03], [0.02, 0.02]])
    found = latency(seconds, seconds * 3, batch_size=10, threads=1)
    assert found.median_ms == pytest.approx(2.0)
    assert found.speed_up == pytest.approx(3.0)
    assert found.calls == 4
    assert found.p5_ms < found.median_ms < found.p95_ms


def test_runs_are_timed_interleaved() -> None:
    order: list[str] = []
    runs = [lambda: order.append("a"), lambda: order.append("b")]
    found = time_interleaved(runs, rounds=2, calls=2, warm_up=1)
    assert "".join(order) == "aaabbb" * 2
    assert [times.shape for times in found] == [(2, 2), (2, 2)]
    assert all((times >= 0).all() for times in found)


def test_a_tensor_of_two_names_is_counted_once() -> None:
    first = nn.Linear(4, 4)
    size = model_size(nn.ModuleDict({"one": first, "net": nn.Sequential(first)}))
    assert (size.weight_bytes, size.float_layers) == (64, ("one",))


def test_a_parameter_of_any_name_is_a_weight() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W, self.scale = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4))
            self.register_buffer("mask", torch.ones(4, 4))

    size = model_size(nn.Sequential(Own()))
    assert (size.weight_bytes, size.float_layers) == (64, ("0",))


def test_a_sparse_buffer_is_no_obstacle() -> None:
    net = nn.Linear(4, 2)
    net.register_buffer("adjacency", torch.eye(4).to_sparse())
    assert model_size(net).weight_bytes == 32
