from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from qreg.data import get_dataset, load_split
from qreg.data.batches import batches
from qreg.errors import QregError
from qreg.files import shipped_folder
from qreg.measure.comparison import BATCH, measure
from qreg.measure.options import Options
from qreg.models import build_model
from qreg.quantization.engines import available_engines
from qreg.records.case import Case, Failure
from qreg.records.measurement import Measurement
from qreg.training.checkpoints import find_checkpoint, load_checkpoint
from qreg.training.recipe import read_recipe

SHIPPED = (shipped_folder() / "checkpoints",)
LIMIT = 400
METHODS = ("dynamic", "static", "static-per-tensor", "fp32-finetuned", "qat", "qat-per-tensor")


def _cases(*methods: str, model: str = "simple_cnn", engine: str = "x86") -> list[Case]:
    return [Case("shapes10", model, method, engine) for method in ("fp32", *methods)]


@cache
def _measured(
    *methods: str, model: str = "simple_cnn", engine: str = "x86", times: int = 1
) -> list[Measurement]:
    """Measured once for all tests that only read it; another number of `times`, once more."""
    results = measure(_cases(*methods, model=model, engine=engine), Options(limit=LIMIT))
    assert all(isinstance(result, Measurement) for result in results)
    return [result for result in results if isinstance(result, Measurement)]


@pytest.mark.slow
def test_predictions_are_those_of_plain_torch() -> None:
    found = _measured(*METHODS)[0]
    dataset = get_dataset("shapes10")
    path = find_checkpoint(SHIPPED, "simple_cnn", "shapes10", "fp32")
    model, _ = load_checkpoint(path, lambda: build_model("simple_cnn"))
    test = load_split(dataset, "test").head(LIMIT)
    with torch.no_grad():
        logits = torch.cat([model(images) for images in batches(test, dataset, size=BATCH)])
    assert found.accuracy.predictions == tuple(logits.argmax(1).tolist())
    assert found.accuracy.index == tuple(range(LIMIT))
    assert found.data_fingerprint == test.fingerprint()


@pytest.mark.slow
def test_each_method_is_compared_with_fp32_and_its_control() -> None:
    fp32, _, static, _, control, qat, _ = _measured(*METHODS)
    assert fp32.agreements == ()
    assert [a.reference for a in static.agreements] == ["fp32"]
    assert [a.reference for a in control.agreements] == ["fp32"]
    assert [a.reference for a in qat.agreements] == ["fp32", "fp32-finetuned"]
    for found in (static, qat):
        for beside, reference in zip(found.agreements, (fp32, control), strict=False):
            mine, other = found.accuracy.predictions, reference.accuracy.predictions
            assert len(beside.flips) == sum(a != b for a, b in zip(mine, other, strict=True))
            net = found.accuracy.correct - reference.accuracy.correct
            assert beside.won - beside.lost == net


@pytest.mark.slow
def test_calibration_is_recorded_where_it_was_used() -> None:
    fp32, _, static, *_ = _measured(*METHODS)
    assert fp32.calibration == ()
    assert static.calibration == tuple(range(512))


@pytest.mark.slow
def test_the_same_case_gives_the_same_predictions_again() -> None:
    first, again = _measured(*METHODS)[2], _measured("static", times=2)[1]
    assert first.accuracy == again.accuracy
    assert first.size == again.size


@pytest.mark.slow
@pytest.mark.parametrize("engine", available_engines())
def test_every_engine_keeps_the_accuracy(engine: str) -> None:
    methods = METHODS if engine == "x86" else METHODS[:2]
    fp32, dynamic, static, *_ = _measured(*methods, engine=engine)
    for found in (dynamic, static):
        # the worst engine loses 1 of 100 images here; losing 5 would be a broken one
        assert found.accuracy.share > fp32.accuracy.share - 0.05


def test_latency_is_stated_for_both_batches() -> None:
    fp32, _, static, *_ = _measured(*METHODS)
    assert [found.batch_size for found in static.latencies] == [1, BATCH]
    assert all(found.threads == torch.get_num_threads() for found in static.latencies)
    assert all(0 < f.p5_ms <= f.median_ms <= f.p95_ms for f in static.latencies)
    assert all(found.speed_up == 1.0 for found in fp32.latencies)


def test_the_sizes_of_the_reference_table() -> None:
    fp32, dynamic, _, static, _, _, qat = _measured(*METHODS)
    megabytes = [round(m.size.file_bytes / 1e6, 2) for m in (fp32, dynamic, static, qat)]
    assert megabytes == [2.61, 0.94, 0.66, 0.66]


def test_a_case_that_fails_does_not_take_the_others_with_it() -> None:
    cases = [*_cases("static"), Case("shapes10", "simple_cnn", "json:dumps", "x86")]
    fp32, static, failed = measure(cases, Options(limit=50))
    assert isinstance(fp32, Measurement)
    assert isinstance(static, Measurement)
    assert isinstance(failed, Failure)
    assert failed.details


def test_without_its_reference_nothing_is_measured(colours: Path) -> None:
    untrained = [Case("colours", "simple_cnn", method, "x86") for method in ("fp32", "static")]
    with pytest.raises(QregError, match=r"reference .* cannot be measured"):
        measure(untrained, Options(sources=(("colours", str(colours)),), limit=50))


def test_progress_names_the_stages() -> None:
    seen: list[tuple[int, int, str]] = []
    options = Options(limit=250, progress=lambda *at: seen.append(at))
    measure(_cases("dynamic"), options)
    assert [at for at in seen if at[2] == "test samples"] == [
        (100, 250, "test samples"),
        (200, 250, "test samples"),
        (250, 250, "test samples"),
    ]
    assert (1, 2, "building dynamic") in seen


_LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet20", "mobilenet_v2")]


@pytest.mark.parametrize("model", ["simple_cnn", "linear_100", *_LARGE])
def test_shipped_checkpoints_are_as_accurate_as_recorded(model: str) -> None:
    methods = ("fp32-finetuned",)
    for found in _measured(*methods, model=model):
        path = find_checkpoint(SHIPPED, model, "shapes10", found.case.method)
        recipe = read_recipe(path.with_suffix(".json"))
        recorded = recipe.test_correct / recipe.test_total
        # The recorded share is of all 10,000 images, this one of the first 400: six standard
        # errors, so that another CPU's rounding cannot matter and a wrong file must.
        spread = 6 * np.sqrt(recorded * (1 - recorded) / LIMIT)
        assert abs(found.accuracy.share - recorded) < spread
        assert found.checkpoint == recipe.sha256
