"""Snapshots and baselines made without torch, for tests: small, whole, and the same each time.

`snapshot(seed=1)` differs from `snapshot()` in what a different model would differ in;
``dataclasses.replace`` changes the rest.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from qreg import __version__
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case, Environment
from qreg.records.measurement import Role, Size, TensorSize
from qreg.records.numerics import Images, Layer, Logits, Numerics, OperatorCount, Quantizer
from qreg.records.score import Score

CASE = Case("shapes10", "simple_cnn", "static", "x86")
ENVIRONMENT = Environment(
    torch="2.14.1+cpu",
    torchvision="0.29.1",
    torchao="",
    python="3.11.7",
    numpy="2.4.6",
    system="Linux",
    arch="x86_64",
    cpu="Some CPU @ 2.50GHz",
    cpu_capability="AVX512",
    vnni=True,
    threads=1,
)
CALIBRATION = tuple(range(64))


def hexadecimal(*what: object, digits: int = 64) -> str:
    """A digest that depends on `what`."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:digits]


def images(count: int = 40, *, classes: int = 10, seed: int = 0) -> Images:
    """The first `count` images of a dataset."""
    digests = np.random.default_rng(seed).integers(0, 2**32, count)
    return Images(
        index=tuple(range(count)),
        labels=tuple(i % classes for i in range(count)),
        digests=tuple(digests.tolist()),
    )


def logits(count: int = 8, *, classes: int = 10, steps: int = 200, seed: int = 0) -> Logits:
    """Logits on a grid of `steps` values, as a quantized model has them; 0 for float ones."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, classes))
    if steps:
        values = rng.integers(0, steps, (count, classes)) * 0.0625
    return Logits(count, classes, values.astype("<f4").tobytes())


def layer(name: str = "conv1", *, channels: int = 4, seed: int = 0, **changes: Any) -> Layer:
    """A quantized layer with one scale a channel."""
    scales = np.random.default_rng(seed).uniform(0.001, 0.02, channels).astype(np.float32)
    fields: dict[str, Any] = {
        "name": name,
        "kind": "quantized.ConvReLU2d",
        "weight": Quantizer(
            "per_channel_affine", "qint8", tuple(scales.astype(float).tolist()), (0,) * channels
        ),
        "weight_digest": hexadecimal("weight", name, seed, digits=16),
        "bias_digest": hexadecimal("bias", name, seed, digits=16),
        "output": Quantizer("per_tensor_affine", "quint8", (0.0123456789 + seed,), (64,)),
        "output_digest": hexadecimal("output", name, seed, digits=16),
        "sqnr_db": 31.25 - seed,
    }
    return Layer(**(fields | changes))


def numerics(
    seen: Images, *, wrong: int, layers: int = 3, channels: int = 4, seed: int = 0, **changes: Any
) -> Numerics:
    """Numerics of a model with `layers` quantized layers and a float one."""
    quantized = tuple(layer(f"conv{i + 1}", channels=channels, seed=seed) for i in range(layers))
    head = layer("fc", weight=None, output=None, kind="Linear", sqnr_db=None, seed=seed)
    fields: dict[str, Any] = {
        "images": seen,
        "logits": logits(min(8, len(seen.index)), seed=seed),
        "single": hexadecimal("single", seed),
        "reloaded": hexadecimal("reloaded", seed),
        "reference": hexadecimal("reference"),
        "disagreements": seen.index[:wrong],
        "layers": (*quantized, head),
        "operators": (
            OperatorCount("aten::linear", 1),
            OperatorCount("quantized::conv2d_relu", max(1, layers)),
        ),
    }
    return Numerics(**(fields | changes))


def size(*, layers: int = 3) -> Size:
    """The size of the model of `numerics`."""
    tensors = [TensorSize(f"conv{i + 1}", Role.WEIGHT, "qint8", 432, 432) for i in range(layers)]
    tensors += [TensorSize(f"conv{i + 1}", Role.BIAS, "float32", 16, 64) for i in range(layers)]
    tensors.append(TensorSize("fc", Role.WEIGHT, "float32", 640, 2560))
    return Size(45678, 432 * layers + 2560, tuple(tensors), ("fc",))


def snapshot(
    *,
    case: Case = CASE,
    environment: Environment = ENVIRONMENT,
    seen: Images | None = None,
    wrong: int = 5,
    layers: int = 3,
    channels: int = 4,
    seed: int = 0,
    **changes: Any,
) -> Snapshot:
    """A snapshot in which the first `wrong` images are predicted wrong."""
    seen = seen or images()
    fields: dict[str, Any] = {
        "case": case,
        "environment": environment,
        "checkpoint": hexadecimal("checkpoint"),
        "calibration": CALIBRATION,
        "correct": len(seen.index) - wrong,
        "predictions": predictions(seen, wrong=wrong),
        "size": size(layers=layers),
        "numerics": numerics(seen, wrong=wrong, layers=layers, channels=channels, seed=seed),
        "warnings": ("quantization is deprecated",),
    }
    return Snapshot(**(fields | changes))


def score(seen: Images | None = None, *, seed: int = 0, **changes: Any) -> Score:
    """Scores of images by a task whose summary is of the whole set, a ratio of sums."""
    seen = seen or images()
    rng = np.random.default_rng(seed)
    parts = np.stack([rng.integers(0, 9, len(seen.index)), np.full(len(seen.index), 10)], axis=1)
    fields: dict[str, Any] = {
        "task": "segmentation",
        "name": "IoU",
        "higher_is_better": True,
        "binary": False,
        "index": seen.index,
        "values": tuple((parts[:, 0] / 10).tolist()),
        "summary": "mean IoU",
        "unit": "%",
        "value": float(parts[:, 0].sum() / parts[:, 1].sum()),
        "span": 1.0,
        "rows": tuple(tuple(map(float, row)) for row in parts),
        "predictions": tuple(rng.integers(0, 2**32, len(seen.index)).tolist()),
    }
    return Score(**(fields | changes))


def predictions(seen: Images, *, wrong: int, classes: int = 10) -> tuple[int, ...]:
    """Predictions of which the first `wrong` are the next class."""
    return tuple(
        (label + 1) % classes if position < wrong else label
        for position, label in enumerate(seen.labels)
    )


def approval(reason: str = "first", **changes: Any) -> Approval:
    """An approval, dated 2026."""
    fields: dict[str, Any] = {
        "reason": reason,
        "date": "2026-11-23T12:00:00+00:00",
        "commit": hexadecimal("commit", digits=40),
        "qreg": __version__,
    }
    return Approval(**(fields | changes))


def baseline(found: Snapshot | None = None, *history: Approval) -> Baseline:
    """An approved snapshot."""
    return Baseline(found or snapshot(), history or (approval(),))
