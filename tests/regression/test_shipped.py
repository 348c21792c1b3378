"""The baselines that are shipped: all there, in order, of the shipped weights, small enough."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from qreg.baselines.store import Store
from qreg.data import DATASETS
from qreg.data.dataset import FIRST_GATE_SAMPLES
from qreg.errors import MissingCheckpointError
from qreg.models import MODELS
from qreg.quantization import DEFAULT_METHODS, METHODS, get_method
from qreg.quantization.engines import ENGINES
from qreg.records.case import Case
from qreg.selection import gate_cases
from qreg.training.checkpoints import checkpoint_path, find_checkpoint

ROOT = Path(__file__).parents[2] / "baselines"
STORE = Store(ROOT)
#: The models whose baselines show how engines differ: recorded on every one. Those that are added
#: later need theirs on x86 only, which the gate takes by itself: 13 cases, not 40.
ON_EVERY_ENGINE = ("simple_cnn", "linear_100", "resnet20", "mobilenet_v2")
#: Megabytes that one model may add to a clone for each dataset. There is no cap on all together:
#: it would stand in the way of the next model.
MOST_MB = {"checkpoints": 5.5, "baselines": 2.0}
# With the scales of a whole channel in one number cifar10's MobileNetV2 loses most of what it
# knows; it is kept for that.
BROKEN = ("cifar10", "mobilenet_v2", "static-per-tensor")
# FX graph mode quantizes this model's input before it is averaged, where QAT learned no range.
UNLEARNED = ("linear_100", "fx-qat")
# The successors' baselines of this one, whose many layers make the largest files, would take the
# clone to its limit; see leave-out in pyproject.toml.
TOO_LARGE = "mobilenet_v2"
SUCCESSORS = (
    "fx-static",
    "fx-qat",
    "pt2e-static",
    "pt2e-qat",
    "torchao-int8-dynamic",
    "torchao-int8-weight-only",
)


def _has_weights(case: Case) -> bool:
    kind = get_method(case.method).checkpoint
    try:
        find_checkpoint((ROOT / "checkpoints",), case.model, case.dataset, kind)
    except MissingCheckpointError:
        return False
    return True


def _is_shipped(case: Case) -> bool:
    """The successors' baselines are of x86, for which X86InductorQuantizer is; none is compiled."""
    if case.method in DEFAULT_METHODS:
        wanted = case.model in ON_EVERY_ENGINE or case.engine == "x86"
        return wanted and _has_weights(case)
    made = case.method in SUCCESSORS and (case.model, case.method) != UNLEARNED
    return made and case.model != TOO_LARGE and case.engine == "x86"


CASES = [
    case
    for case in gate_cases(DATASETS.names(), MODELS.names(), METHODS.names(), ENGINES)
    if _is_shipped(case)
]
# Graphs that compute in float between quantizing and dequantizing, and linear layers that unpack
# their weights at every call: uncompiled they are slower than fp32, and promise no speed.
SLOW = ("pt2e-static", "pt2e-qat", "torchao-int8-dynamic", "torchao-int8-weight-only")
# those that the gate judges unless told otherwise
TIMED = [case for case in CASES if case.engine == "x86" and case.method not in ("fp32", *SLOW)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_case_has_a_baseline_of_the_shipped_weights(case: Case) -> None:
    baselines = STORE.read(case)
    assert baselines, f"approve it: qreg baseline update --reason ... {case}"
    weights = checkpoint_path(
        ROOT / "checkpoints", case.model, case.dataset, get_method(case.method).checkpoint
    )
    for baseline in baselines:
        snapshot = baseline.snapshot
        assert snapshot.checkpoint == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert baseline.history[-1].reason
        assert len(snapshot.predictions) >= 9_900
        kept = snapshot.numerics.images.index[: snapshot.numerics.logits.count]
        assert max(kept) < FIRST_GATE_SAMPLES.size
        assert len(kept) >= 990


@pytest.mark.parametrize("case", [c for c in CASES if c.method != "fp32"], ids=str)
def test_quantization_costs_what_it_may_cost(case: Case) -> None:
    control = get_method(case.method).control
    (baseline, *_), (reference, *_) = STORE.read(case), STORE.read(_with_method(case, control))
    now, before = baseline.snapshot, reference.snapshot
    lost = (before.correct - now.correct) / len(now.predictions)
    if (case.dataset, case.model, case.method) == BROKEN:
        assert lost > 0.1
    else:
        assert lost < 0.06
    if case.method not in ("fp32-finetuned",):
        assert now.size.weight_bytes < before.size.weight_bytes
        assert now.size.file_bytes < before.size.file_bytes


@pytest.mark.parametrize("case", TIMED, ids=str)
def test_its_speed_relative_to_fp32_is_recorded(case: Case) -> None:
    promises = STORE.promises(case)
    assert promises, f"qreg baseline update --category promise --reason ... {case}"
    assert all(promise.environment.threads == 1 for promise in promises)


def test_nothing_is_left_over() -> None:
    assert set(STORE.cases()) == set(CASES)
    assert STORE.orphans() == ()


@pytest.mark.parametrize("dataset", DATASETS.names())
@pytest.mark.parametrize("model", MODELS.names())
def test_a_model_adds_little_to_a_clone(model: str, dataset: str) -> None:
    files = [STORE.path(case) for case in CASES if (case.model, case.dataset) == (model, dataset)]
    arrays = {
        ROOT / dataset / "sidecars" / name
        for path in files
        for entry in json.loads(path.read_text())["entries"]
        for name in (entry["sidecars"]["arrays"]["file"],)
    }
    sizes = {
        "checkpoints": _megabytes((ROOT / "checkpoints" / dataset / model).iterdir()),
        "baselines": _megabytes((*files, *arrays)),
    }
    assert {kind: size for kind, size in sizes.items() if size > MOST_MB[kind]} == {}


def _megabytes(paths: Iterable[Path]) -> float:
    return sum(path.stat().st_size for path in paths) / 1e6


def _with_method(case: Case, method: str) -> Case:
    return Case(case.dataset, case.model, method, case.engine)
