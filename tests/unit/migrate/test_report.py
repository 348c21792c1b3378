from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from qreg.migrate.records import Candidate, Fate, Migration, Replacement
from qreg.migrate.report import headline, migration_notes, migration_table, verdict_lines
from qreg.migrate.text import FORMAT, code_blocks, migration_markdown, migration_text
from qreg.records.case import Case
from qreg.records.measurement import Agreement, Latency, Measurement
from qreg.records.numerics import OperatorCount, Work
from tests.unit.report.test_report import FLIPS, measurement

INT8 = Work((OperatorCount("quantized::linear", 6),), (), 0, True)
GRAPH = Work((), (OperatorCount("aten::addmm", 6),), 20, True)
FLOAT = Work((), (OperatorCount("aten::addmm", 6),), 0, False)
BESIDE = Agreement("static", -0.01, -0.02, 0.001, 0.5, 0.0123, FLIPS)
TIMES = (Latency(1, 2, 90, 5.0, 4.0, 7.0, 0.1), Latency(100, 2, 90, 0.5, 0.4, 0.6, 0.5))


def _measured(method: str, times: tuple[Latency, ...] = ()) -> Measurement:
    found = measurement(method)
    return replace(found, latencies=times or found.latencies)


def _pair(method: str, fate: Fate = Fate.NOISE, **changes: object) -> Replacement:
    old = Case("shapes10", "simple_cnn", "static", "x86")
    one = Replacement(
        replace(old, method=method),
        old,
        Fate.NOISE,
        "",
        "import torch\n",
        "import torchao\n",
        ("quantize_eager_static(model)",),
        ("prepare_it(model)", "convert(trained)"),
        beside=BESIDE,
        level=0.01,
        detectable=0.0456,
        latencies=TIMES,
        moved="conv1: output, scale 1 -> 2",
    )
    return replace(one, fate=fate, **changes)  # type: ignore[arg-type]


MISSING = _pair(
    "torchao-x", Fate.UNAVAILABLE, beside=None, reason="torchao: no module", latencies=()
)
FOUND = Migration(
    (
        Candidate(_measured("fp32"), FLOAT),
        Candidate(_measured("static"), INT8),
        Candidate(_measured("pt2e-static", TIMES), GRAPH),
    ),
    (),
    (_pair("pt2e-static"), MISSING),
)


def test_the_verdict_comes_first_and_says_how_sure() -> None:
    lines = verdict_lines(FOUND)
    assert lines[0].startswith("static -> pt2e-static: within noise: ")
    for figure in ("-1.00 points (-2.00 to +0.10)", "p = 0.5", "3 flips", "detectable", "4.56"):
        assert figure in lines[0]
    assert "static -> torchao-x: not available: torchao: no module" in lines


def test_other_differences_follow_the_verdict() -> None:
    text = "\n".join(verdict_lines(FOUND))
    assert re.search(r"no int8 kernel ran: 6 float operators", text)
    assert re.search(r"slower than static: 0\.10.* at batch 1, 0\.50", text)
    assert "--compiled" in text
    assert re.search("float in conv1, .*deprecated method", text)
    assert re.search("first layer .*: conv1: output, scale 1 -> 2", text)
    assert "also deprecated" not in text


def test_times_that_overlap_or_are_few_are_not_called_slower() -> None:
    few = tuple(replace(time, calls=9) for time in TIMES)
    alike = tuple(replace(time, p5_ms=0.1) for time in TIMES)
    for times in (few, alike):
        candidates = (*FOUND.candidates[:2], Candidate(_measured("pt2e-static", times), GRAPH))
        text = "\n".join(verdict_lines(replace(FOUND, candidates=candidates)))
        assert "slower than" not in text


def test_a_successor_in_torch_ao_is_also_deprecated() -> None:
    pair = _pair("pt2e-static", after="from torch.ao.quantization import quantize_fx\n")
    assert "also deprecated" in "\n".join(verdict_lines(replace(FOUND, replacements=(pair,))))


def test_equal_bits_are_reported() -> None:
    found = replace(FOUND, replacements=(_pair("pt2e-static", Fate.SAME),))
    assert re.search("same numbers: .*logits", verdict_lines(found)[0])


def test_the_headline_counts_and_warns() -> None:
    assert headline(FOUND).endswith("no successor loses accuracy: 1 within noise, 1 not available")
    lost = replace(FOUND, replacements=(_pair("pt2e-static", Fate.LOST), MISSING))
    assert headline(lost).endswith(": 1 accuracy lost, 1 not available")
    assert "no successor loses" not in headline(lost)
    assert not replace(FOUND, replacements=(MISSING,)).fit


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.NOTHING])
def test_a_loss_and_a_float_model_are_not_fit(fate: Fate) -> None:
    assert not replace(FOUND, replacements=(_pair("pt2e-static", fate),)).fit


def test_a_measured_fate_needs_its_measurement() -> None:
    for fate, beside in ((Fate.NOISE, None), (Fate.UNAVAILABLE, BESIDE)):
        with pytest.raises(ValueError, match="static"):
            _pair("fx-static", fate, beside=beside)


def test_the_table_holds_every_figure() -> None:
    console = Console(width=118, file=io.StringIO())
    console.print(migration_table(FOUND))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for figure in ("75.00", "-1.00", "-2.0..+0.1", "4.56", "-2 +1", "2.61", "0.651", "5.000"):
        assert figure in text
    for word in ("6 int8", "simulated", "0.10", "0.50", "not available"):
        assert word in text
    assert "…" not in text, "nothing is cut off"


def test_notes_name_the_verdict_on_speed() -> None:
    notes = "\n".join(migration_notes(FOUND))
    assert "--methods SUCCESSOR --against static" in notes
    assert re.search(r"significant up to 0\.01\b", notes)
    assert re.search(r"4 test \w+, 2 threads", notes)


def test_old_code_stands_once_before_what_replaces_it() -> None:
    found = replace(FOUND, replacements=(_pair("pt2e-static"), _pair("fx-static")))
    titles = [title for title, _ in code_blocks(found)]
    calls = ": prepare_it(model), train, convert(trained)"
    assert titles[0] == "static, deprecated: quantize_eager_static(model)"
    assert [title.partition(",")[0] for title in titles[1:]] == ["pt2e-static", "fx-static"]
    assert all(title.endswith(calls) and "static" in title for title in titles[1:])


def test_markdown_is_a_table_with_the_code_folded() -> None:
    text = migration_markdown(FOUND)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert "```python\nimport torchao\n```" in text
    assert text.startswith("**simple_cnn on shapes10: no successor loses accuracy")
    assert "  - first layer quantized" in text


def test_json_holds_all() -> None:
    content = json.loads(migration_text(FOUND, created="2026-01-01T00:00:00+00:00"))
    assert content["format"] == FORMAT
    assert [one["fate"] for one in content["replacements"]] == ["within noise", "not available"]
    assert content["candidates"][1]["work"]["int8"] == [{"name": "quantized::linear", "count": 6}]
