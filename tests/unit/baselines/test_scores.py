"""Scores in a baseline: they come back as they were, and damage is refused with its key."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from qreg.baselines.encoding import encode
from qreg.baselines.sidecar import Arrays, take_score
from qreg.baselines.store import Store
from qreg.errors import CorruptFileError
from qreg.records.decode import MismatchError
from qreg.records.score import Score
from tests.unit.baselines import build

SEEN = build.images(6)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def scores(draw: st.DrawFn) -> Score:
    count = len(SEEN.index)
    row = st.lists(FLOATS, max_size=4).map(tuple)
    code = st.integers(-(2**63), 2**63 - 1)
    return build.score(
        SEEN,
        values=tuple(draw(st.lists(FLOATS, min_size=count, max_size=count))),
        value=draw(FLOATS),
        span=draw(st.none() | FLOATS),
        rows=draw(st.just(()) | st.lists(row, min_size=count, max_size=count).map(tuple)),
        predictions=draw(st.none() | st.lists(code, min_size=count, max_size=count).map(tuple)),
        unit=draw(st.text(max_size=5)),
        higher_is_better=draw(st.booleans()),
    )


@settings(max_examples=25, deadline=None)
@given(scores())
def test_any_scores_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, found: Score
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    written = build.baseline(build.snapshot(seen=SEEN, score=found))
    store.write(written)
    (read,) = store.read(build.CASE)
    assert read == written
    assert read.snapshot.score == found


def test_without_scores_nothing_is_written_of_them() -> None:
    encoded = encode(build.baseline())
    assert "score" not in encoded.entry
    arrays = [load(content) for content in encoded.sidecars.values()]
    assert not any(name.startswith("score") for one in arrays for name in one)


def test_a_thousand_scores_of_ten_classes_stay_under_a_megabyte() -> None:
    seen = build.images(1000)
    rng = np.random.default_rng(0)
    rows = tuple(map(tuple, rng.integers(0, 4096, (1000, 20)).astype(float).tolist()))
    found = build.score(seen, rows=rows, values=tuple(rng.random(1000).tolist()))
    encoded = encode(build.baseline(build.snapshot(seen=seen, score=found)))
    assert sum(map(len, encoded.sidecars.values())) < 200_000


def test_scores_in_an_older_format_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(build.baseline(build.snapshot(score=build.score())))
    path = store.path(build.CASE)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(CorruptFileError, match="no scores in format 2"):
        store.read(build.CASE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score.values": np.zeros(5)}, r"score.values: expected .*shape \(6\)"),
        ({"score.values": np.zeros(6, np.int32)}, "score.values: expected float32"),
        ({"score.lengths": np.full(6, 3, np.int32)}, "score.rows: expected"),
        ({"score.lengths": np.array([-2, 4, 2, 2, 2, 2], np.int32)}, "score.rows|score.lengths"),
        ({"score.predictions": np.zeros(6)}, "score.predictions: expected uint8"),
    ],
)
def test_damaged_arrays_are_refused_with_their_key(change: dict[str, Any], message: str) -> None:
    arrays = {
        "score.values": np.zeros(6),
        "score.rows": np.zeros(12),
        "score.lengths": np.full(6, 2, np.int32),
        "score.predictions": np.zeros(6, np.uint8),
    }
    assert len(take_score(Arrays(save(arrays)), 6)["rows"]) == 6
    with pytest.raises(MismatchError, match=message):
        take_score(Arrays(save(arrays | change)), 6)


def test_scores_are_of_the_images_seen() -> None:
    with pytest.raises(ValueError, match="not seen"):
        build.snapshot(score=build.score(build.images(3)))
    found = build.snapshot(score=build.score())
    assert replace(found, score=None).score is None
