"""Which cases there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qreg.records import Case


def gate_cases(
    datasets: Iterable[str],
    models: Sequence[str],
    methods: Sequence[str],
    engines: Sequence[str],
) -> tuple[Case, ...]:
    """Every dataset x model x method x engine, fp32 first in each group of one model."""
    ordered = [*(m for m in methods if m == "fp32"), *(m for m in methods if m != "fp32")]
    return tuple(
        Case(dataset, model, method, engine)
        for dataset in datasets
        for model in models
        for engine in engines
        for method in ordered
    )
