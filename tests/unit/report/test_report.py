from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from qreg.records.case import Case, Environment, Failure
from qreg.records.measurement import (
    Accuracy,
    Agreement,
    Flip,
    Latency,
    Measurement,
    Role,
    Size,
    TensorSize,
)
from qreg.report.checkpoints import recipes_table
from qreg.report.comparison import comparison_notes, comparison_table, failure_lines
from qreg.report.json_text import FORMAT, measurements_text
from qreg.report.plot import comparison_png
from qreg.training.recipe import default_recipe

ENVIRONMENT = Environment(
    torch="2.14.1",
    torchvision="0.29.1",
    torchao="",
    python="3.11",
    numpy="2",
    system="Linux",
    arch="x86_64",
    cpu="a CPU",
    cpu_capability="AVX2",
    vnni=False,
    threads=2,
)


def measurement(method: str = "fp32", agreements: tuple[Agreement, ...] = ()) -> Measurement:
    weights = (
        TensorSize("conv1", Role.WEIGHT, "float32", 10, 40),
        TensorSize("fc", Role.WEIGHT, "qint8", 10, 10),
    )
    return Measurement(
        case=Case("shapes10", "simple_cnn", method, "x86"),
        environment=ENVIRONMENT,
        checkpoint="ab" * 32,
        calibration=(0, 1, 2) if method == "static" else (),
        data_fingerprint="cd",
        accuracy=Accuracy(3, 4, 0.301, 0.954, (), (0, 1, 2, 3), (1, 1, 2, 0)),
        agreements=agreements,
        size=Size(2_610_000, 651_000, weights, ("conv1",)),
        latencies=(Latency(1, 2, 9, 0.5, 0.4, 0.7, 2.5), Latency(100, 2, 9, 0.25, 0.2, 0.3, 3.5)),
        warnings=(),
    )


FLIPS = (Flip(0, 1, 1, 0), Flip(1, 1, 0, 1), Flip(2, 2, 2, 1))
FP32 = Agreement("fp32", -0.01, -0.02, 0.001, 0.5, 0.0123, FLIPS)
CONTROL = Agreement("fp32-finetuned", 0.02, 0.01, 0.03, 0.1, 0.004, ())
FAILURE = Failure(
    Case("shapes10", "simple_cnn", "static", "qnnpack"), "no engine", "engines here: x86", True
)


def _text(results: list[Measurement | Failure]) -> str:
    console = Console(width=118, file=io.StringIO())
    console.print(comparison_table(results))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(written, str)
    return written


def test_a_row_holds_every_figure_and_its_interval() -> None:
    text = _text([measurement(), measurement("qat", (FP32, CONTROL))])
    for figure in ("75.00", "30.1..95.4", "-1.00", "-2.0..+0.1", "+2.00", "+1.0..+3.0"):
        assert figure in text
    for figure in ("-2 +1", "2.61", "0.651", "0.500", "0.250", "2.50 3.50"):
        assert figure in text
    assert "…" not in text, "nothing is cut off"


def test_engines_get_a_column_when_there_are_several() -> None:
    text = _text([measurement(), FAILURE])
    assert "engine " in text
    assert "unavailable" in text
    assert "qnnpack" in text


def test_notes_say_what_the_reader_must_know() -> None:
    notes = "\n".join(comparison_notes([measurement(), measurement("static", (FP32,)), FAILURE]))
    assert re.search(r"4 test \w+, 2 threads, torch 2\.14\.1, AVX2, no VNNI", notes)
    assert re.search(r"calibrated on 3 .*, indices 0 to 2", notes)
    assert "points: static 1.23" in notes
    assert re.search(r"static: .*float.* conv1\b", notes)


def test_failures_say_why_and_what_to_do() -> None:
    assert failure_lines([measurement(), FAILURE]) == (
        "shapes10/simple_cnn/static@qnnpack: unavailable: no engine\n  engines here: x86",
    )
    raised = replace(FAILURE, unavailable=False, hint="")
    assert failure_lines([raised]) == ("shapes10/simple_cnn/static@qnnpack: failed: no engine",)


def test_recipes_are_listed_with_what_came_out() -> None:
    recipe = replace(
        default_recipe("simple_cnn", "shapes10", "qat"),
        test_correct=3,
        test_total=4,
        sha256="ab" * 32,
    )
    console = Console(width=118, file=io.StringIO())
    console.print(recipes_table([recipe], title="here"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("here", "shapes10", "simple_cnn", "qat", "75.00", "abababab"):
        assert part in text


def test_json_holds_the_whole_measurement() -> None:
    measured = measurement("static", (FP32,))
    found = json.loads(measurements_text([measured, FAILURE], created="2026-01-01T00:00:00"))
    assert found["format"] == FORMAT
    (one,) = found["measurements"]
    assert one["accuracy"]["predictions"] == [1, 1, 2, 0]
    assert one["agreements"][0]["flips"][0] == {
        "index": 0,
        "label": 1,
        "reference": 1,
        "observed": 0,
    }
    assert one["environment"]["torch"] == "2.14.1"
    assert found["failures"][0]["reason"] == "no engine"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_json_does_not_have(value: float) -> None:
    agreement = replace(FP32, change=value)
    with pytest.raises(ValueError, match="not JSON compliant"):
        measurements_text([measurement("static", (agreement,))], created="")


def test_the_picture_is_a_png_that_shows_every_method() -> None:
    from PIL import Image

    content = comparison_png([measurement(), measurement("qat", (FP32,)), FAILURE])
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert image.size == (960, 600)
        assert len(image.convert("RGB").getcolors(maxcolors=10**6)) > 50  # type: ignore[arg-type]
