from __future__ import annotations

from dataclasses import replace

import pytest

from qreg.records.case import Case
from qreg.records.detail import CaseDetail, InFloat, LayerSqnr
from qreg.records.numerics import EQUAL_DB
from qreg.report.layers import diverging_lines, layers_table


def _detail(**sqnr: float | None) -> CaseDetail:
    layers = tuple(LayerSqnr(name, "Conv", None, db) for name, db in sqnr.items())
    return CaseDetail(Case("photos", "net", "file:net.onnx", "onnxruntime"), layers=layers)


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        (_detail(a=EQUAL_DB, b=130.0), "no tensor diverges beyond rounding (lowest: b, 130.0 dB)"),
        (_detail(a=EQUAL_DB), "no tensor diverges beyond rounding (lowest: a, equal)"),
        (_detail(a=None), "no tensor has a counterpart in the float model"),
        (_detail(a=130.0, b=None, c=40.0), "first diverging tensor: c (40.0 dB)"),
        (
            _detail(a=45.0, b=44.0, c=20.0, d=21.0),
            "first diverging tensor: a (45.0 dB); largest fall: c (44.0 -> 20.0 dB)",
        ),
    ],
)
def test_the_first_tensor_that_diverges(detail: CaseDetail, said: str) -> None:
    assert diverging_lines((detail,)) == (f"file:net.onnx: {said}",)


def test_what_the_layers_cost_that_a_file_was_run_without() -> None:
    alone = (InFloat("a", 30.0, 30.1), InFloat("c", 30.0, 41.0))
    (line,) = diverging_lines((replace(_detail(a=45.0, b=44.0, c=20.0), in_float=alone),))
    assert line.endswith("; outputs: 30.0 dB, 30.1 with a in float, 41.0 with c in float")


def test_a_column_for_each_case_and_a_row_for_each_layer() -> None:
    table = layers_table((_detail(a=45.0, b=None), _detail(b=EQUAL_DB, c=1.0)))
    assert table.row_count == 3
    cells = [list(column.cells) for column in table.columns]
    assert [str(one) for one in cells[0]] == ["a", "b", "c"]
    assert cells[1:] == [["45.0", "", ""], ["", "equal", "1.0"]]
