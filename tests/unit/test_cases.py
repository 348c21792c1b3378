from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from qreg.cases import gate_cases
from qreg.records import Case

_NAMES = st.lists(st.sampled_from("abcd"), max_size=3, unique=True)
_METHODS = st.lists(st.sampled_from(["fp32", "dynamic", "static", "qat"]), max_size=4, unique=True)


@given(_NAMES, _NAMES, _METHODS, _NAMES)
def test_every_combination_is_a_case_once(
    datasets: list[str], models: list[str], methods: list[str], engines: list[str]
) -> None:
    found = gate_cases(iter(datasets), models, methods, engines)
    expected = {Case(*names) for names in product(datasets, models, methods, engines)}
    assert len(found) == len(expected)
    assert set(found) == expected


@given(_NAMES, _NAMES, _METHODS, _NAMES)
def test_fp32_comes_before_what_is_compared_with_it(
    datasets: list[str], models: list[str], methods: list[str], engines: list[str]
) -> None:
    found = gate_cases(datasets, models, methods, engines)
    for number, case in enumerate(found):
        before = found[:number]
        if case.method != "fp32" and "fp32" in methods:
            assert Case(case.dataset, case.model, "fp32", case.engine) in before


def test_cases_of_one_dataset_and_model_stand_together() -> None:
    found = gate_cases(["a", "b"], ["m", "n"], ["qat", "fp32", "static"], ["x86", "onednn"])
    groups = [(case.dataset, case.model) for case in found]
    assert groups == sorted(groups)
    assert [str(case) for case in found[:4]] == [
        "a/m/fp32@x86",
        "a/m/qat@x86",
        "a/m/static@x86",
        "a/m/fp32@onednn",
    ]
