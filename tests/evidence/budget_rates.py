"""How often a budget is KEPT, BROKEN or NOT SHOWN where the truth is known (evidence/budgets.md).

    python tests/evidence/budget_rates.py [--draws 1000] [--real 100] [--dataset cifar10]

Prints tables in Markdown. Simulated: paired right and wrong answers with a given true drop. Real:
fp32 and quantized models of a data set, whose change on the whole test split is the truth; each
draw judges a thousand of its samples. All go through the rule that the gate applies.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

from qreg.faults.budget_rates import FLIPPING, REAL_SAMPLES, real_draws
from qreg.faults.budget_rates import simulated_scores as drawn_scores
from qreg.faults.budget_rates import simulated_shares as drawn_shares
from qreg.faults.results import BudgetRates
from qreg.records.budget import BudgetOutcome

HEAD = " | ".join(one.value for one in BudgetOutcome)
COLUMNS = "---:|" * len(BudgetOutcome)


def rates(found: BudgetRates) -> str:
    """The share of each result."""
    counts = (found.kept, found.broken, found.not_shown)
    return " | ".join(f"{one / found.draws:.1%}" for one in counts)


def simulated(draws: int) -> Iterator[str]:
    """Shares: of so many samples a share flips, with a true drop of the budget and a bit."""
    yield f"| samples | samples that flip | true drop − budget, points | {HEAD} |"
    yield f"|---:|---:|---:|{COLUMNS}"
    flips = {f"{share:.0%} flip": f"{share:.0%}" for share in FLIPPING}
    for one in drawn_shares(draws):
        yield f"| {one.samples:,} | {flips[one.what]} | {one.miss:+.1f} | {rates(one)} |"


def simulated_scores(draws: int) -> Iterator[str]:
    """Real scores from 0 to 1: most samples move a little, one in fifty loses much."""
    yield f"| samples | true drop − budget, points | {HEAD} |"
    yield f"|---:|---:|{COLUMNS}"
    for one in drawn_scores(draws):
        yield f"| {one.samples:,} | {one.miss:+.1f} | {rates(one)} |"


def real(draws: int, dataset: str, model: str, size: int) -> Iterator[str]:
    """Draws of a real data set; the truth is the change on all its test samples."""
    import qreg
    from qreg.records.case import Failure

    yield (
        f"| model, method | drop on all samples | budget, points | true drop − budget | {HEAD} |"
    )
    yield f"|---|---:|---:|---:|{COLUMNS}"
    methods = ("dynamic", "static", "static-per-tensor", "qat")
    options = replace(qreg.Options(), threads=1)
    for one in qreg.compare(model, dataset, methods=methods, options=options)[1:]:
        if isinstance(one, Failure):
            raise SystemExit(f"{one.case}: {one.reason}")
        for row in real_draws(one, draws, size):
            assert row.truth is not None
            yield (
                f"| {model}, {one.case.method} | {row.truth:.2f} of {row.of:,} | "
                f"{row.truth - row.miss:.2f} | {row.miss:+.1f} | {rates(row)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--real", type=int, default=100)
    parser.add_argument("--size", type=int, default=REAL_SAMPLES, help="samples of a real draw")
    parser.add_argument("--dataset", default="shapes10")
    parser.add_argument("--model", default="simple_cnn")
    parser.add_argument("--table", choices=("simulated", "scores", "real"), action="append")
    given = parser.parse_args()
    tables = {
        "simulated": lambda: simulated(given.draws),
        "scores": lambda: simulated_scores(given.draws),
        "real": lambda: real(given.real, given.dataset, given.model, given.size),
    }
    for name in given.table or tables:
        for line in tables[name]():
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
