"""Every record comes back as it was, in arrays no wider than they need."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from qreg.baselines.encoding import encode
from qreg.baselines.sidecar import encode_arrays, encode_images
from qreg.baselines.store import Store
from qreg.records.baseline import Approval, Baseline, Replaced, Snapshot
from qreg.records.case import Case, Environment
from qreg.records.measurement import Role, Size, TensorSize
from qreg.records.numerics import Images, Layer, Logits, Numerics, OperatorCount, Quantizer
from qreg.records.verdict import Outcome
from tests.unit.baselines import build

COUNTS = st.integers(0, 2**40)
TEXT = st.text(max_size=12)
NAME = st.text(
    st.characters(whitelist_categories=("L", "N"), whitelist_characters="_:.-"),
    min_size=1,
    max_size=12,
).filter(lambda name: name[0] not in ".:" and name not in ("checkpoints", "sidecars"))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = {int: COUNTS, str: TEXT, bool: st.booleans(), float: FLOATS}
CASES = st.builds(Case, NAME, NAME, NAME, NAME)


WEIGHTS = st.builds(
    "{}{:064x}".format,
    st.sampled_from(("", "factory:", "file:", "random:")),
    st.integers(0, 2**256 - 1),
) | st.just("")


@st.composite
def quantizers(draw: st.DrawFn, wide: bool = True) -> Quantizer:
    count = draw(st.integers(1, 5))
    scale = FLOATS if wide else st.floats(width=32, allow_nan=False, allow_infinity=False)
    points = st.integers(-(2**31), 2**31 - 1) | st.just(0)
    return Quantizer(
        draw(TEXT),
        draw(TEXT),
        tuple(draw(st.lists(scale, min_size=count, max_size=count))),
        tuple(draw(st.lists(points, min_size=count, max_size=count))),
    )


@st.composite
def logits(draw: st.DrawFn) -> Logits:
    count, classes = draw(st.integers(1, 40)), draw(st.integers(1, 300))
    kinds = draw(st.sampled_from([2, 256, 257, 2**32]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # any bits: NaNs with payloads, -0.0 and denormals among them
    palette = rng.integers(0, 2**32, min(kinds, 4 * count * classes), dtype=np.uint32)
    return Logits(count, classes, rng.choice(palette, count * classes).astype("<u4").tobytes())


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    index = tuple(sorted(draw(st.sets(st.integers(0, 2**31 - 1), min_size=1, max_size=20))))
    several = st.lists(st.integers(0, 299), min_size=len(index), max_size=len(index)).map(tuple)
    labels, found = draw(several), draw(logits())
    top = min(found.classes, 300) if found.classes > 256 else 256
    predictions = tuple(p % top for p in draw(several))
    digests = draw(several)
    names = draw(st.lists(TEXT, unique=True, max_size=4))
    layers = tuple(
        Layer(
            name,
            *draw(st.tuples(TEXT, st.none() | quantizers(), TEXT, TEXT)),
            *draw(st.tuples(st.none() | quantizers(), TEXT, st.none() | FLOATS)),
        )
        for name in names
    )
    operators = draw(st.dictionaries(TEXT, st.integers(1, 2**40), max_size=4))
    tensors = st.builds(TensorSize, TEXT, st.sampled_from(Role), TEXT, COUNTS, COUNTS)
    several_texts = st.lists(TEXT, max_size=3).map(tuple)
    numerics = Numerics(
        images=Images(index, labels, digests),
        logits=found,
        single=draw(TEXT),
        reloaded=draw(TEXT),
        reference=draw(TEXT),
        disagreements=index[: draw(st.integers(0, 20))],
        layers=layers,
        operators=tuple(OperatorCount(n, operators[n]) for n in sorted(operators)),
    )
    return Snapshot(
        case=draw(CASES),
        environment=draw(
            st.builds(
                Environment,
                **dict.fromkeys(Environment.__annotations__, TEXT)
                | {
                    "vnni": st.booleans(),
                    "threads": st.integers(1, 512),
                    "limits": st.tuples(TEXT),
                },
            )
        ),
        checkpoint=draw(WEIGHTS),
        calibration=tuple(draw(st.lists(st.integers(0, 1000), max_size=8))),
        correct=sum(a == b for a, b in zip(predictions, labels, strict=True)),
        predictions=predictions,
        size=Size(
            draw(COUNTS),
            draw(COUNTS),
            tuple(draw(st.lists(tensors, max_size=3))),
            draw(several_texts),
        ),
        numerics=numerics,
        warnings=draw(several_texts),
    )


REPLACED = st.none() | st.builds(
    Replaced, st.sampled_from(Outcome), COUNTS, COUNTS, COUNTS, COUNTS, FLOATS
)
HISTORIES = st.lists(st.builds(Approval, TEXT, TEXT, TEXT, TEXT, REPLACED), min_size=1, max_size=3)


@settings(deadline=None)
@given(snapshot=snapshots(), history=HISTORIES)
def test_any_baseline_is_read_as_it_was_written(
    snapshot: Snapshot, history: list[Approval]
) -> None:
    baseline = Baseline(snapshot, tuple(history))
    with tempfile.TemporaryDirectory() as folder:
        Store(Path(folder)).write(baseline)
        assert Store(Path(folder)).read(snapshot.case) == (baseline,)
        assert Store(Path(folder)).cases() == (snapshot.case,)


def _arrays(**changes: object) -> dict[str, np.ndarray]:
    found = build.snapshot()
    return load(encode_arrays(replace(found, numerics=replace(found.numerics, **changes))))


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (256, {"logits.values", "logits.codes"}),
        (257, {"logits"}),
    ],
)
def test_logits_of_few_values_are_a_palette(kinds: int, names: set[str]) -> None:
    values = np.resize(np.arange(kinds, dtype="<f4"), (30, 10)).tobytes()
    arrays = _arrays(logits=Logits(30, 10, values))
    assert {name for name in arrays if name.startswith("logits")} == names


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [
        (0.5, "float32"),
        (0.1, "float64"),
        (1e300, "float64"),
        (1e-320, "float64"),
    ],
)
def test_scales_lose_nothing(scale: float, dtype: str) -> None:
    weight = Quantizer("per_tensor_affine", "qint8", (scale,), (0,))
    assert _arrays(layers=(build.layer("a", weight=weight),))["a.weight.scales"].dtype == dtype


@pytest.mark.parametrize(
    ("points", "dtype"),
    [
        ((0, 0), None),
        ((-1, 0), "int8"),
        ((128, 0), "uint8"),
        ((-1, 128), "int16"),
        ((2**30, 0), "int32"),
    ],
)
def test_zero_points_are_narrow_and_left_out_where_all_are_zero(
    points: tuple[int, ...], dtype: str | None
) -> None:
    weight = Quantizer("per_channel_affine", "qint8", (0.5, 0.5), points)
    found = _arrays(layers=(build.layer("a", weight=weight),)).get("a.weight.zero_points")
    assert (None if found is None else found.dtype.name) == dtype


def test_a_weight_that_runs_twice_is_stored_once() -> None:
    twice = build.layer("a")
    assert len([n for n in _arrays(layers=(twice, twice)) if n.startswith("a.")]) == 1
    other = build.layer("a", seed=1)
    with pytest.raises(ValueError, match="two weights are called a"):
        _arrays(layers=(twice, other))


def test_what_does_not_fit_is_reported() -> None:
    with pytest.raises(ValueError, match="does not fit int32"):
        encode_images(Images((2**31,), (0,), (0,)))
    endless = build.approval(replaced=Replaced(Outcome.PASS, 1, 1, 1, 0, math.nan))
    with pytest.raises(ValueError, match="JSON"):
        encode(build.baseline(build.snapshot(), endless))
