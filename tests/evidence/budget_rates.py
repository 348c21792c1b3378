"""How often a budget is KEPT, BROKEN or NOT SHOWN where the truth is known (evidence/budgets.md).

    python tests/evidence/budget_rates.py [--draws 1000] [--real 100] [--dataset cifar10]

Prints tables in Markdown. Simulated: paired right and wrong answers with a given true drop. Real:
fp32 and quantized models of a data set, whose change on the whole test split is the truth; each
draw judges a thousand of its samples. All go through the rule that the gate applies.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from qreg.budget.rule import Evidence, Pair, judge_limits
from qreg.records.budget import BudgetOutcome, Limits
from qreg.records.score import Score

BUDGET = 1.0  # points
#: How far the truth is from the budget, in points: negative where the budget is kept.
MISSES = (-1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0)


def verdict(pair: Pair, points: float, score: Score | None = None) -> BudgetOutcome:
    """The result of a budget of so many points."""
    evidence = Evidence(score=score, file_bytes=0, pairs={"fp32": pair}, control="fp32")
    return judge_limits(Limits(max_drop=points), evidence)[0].result


def rates(found: Counter[BudgetOutcome]) -> str:
    """The share of each result."""
    total = sum(found.values())
    return " | ".join(f"{found[one] / total:.1%}" for one in BudgetOutcome)


HEAD = " | ".join(one.value for one in BudgetOutcome)


def simulated(draws: int) -> Iterator[str]:
    """Shares: of so many samples a share flips, with a true drop of the budget and a bit."""
    yield f"| samples | samples that flip | true drop − budget, points | {HEAD} |"
    yield "|---:|---:|---:|" + "---:|" * len(BudgetOutcome)
    for count in (1000, 10_000):
        for flipping in (0.03, 0.1):
            for miss in MISSES:
                drop = (BUDGET + miss) / 100
                lost, won = (flipping + drop) / 2, (flipping - drop) / 2
                rng = np.random.default_rng(0)
                counts = rng.multinomial(count, [won, lost, 1 - won - lost], size=draws)
                found = Counter(
                    verdict(Pair(count, int(w), int(x), int(w + x)), BUDGET) for w, x, _ in counts
                )
                yield f"| {count:,} | {flipping:.0%} | {miss:+.1f} | {rates(found)} |"


def simulated_scores(draws: int) -> Iterator[str]:
    """Real scores from 0 to 1: most samples move a little, one in fifty loses much."""
    yield f"| samples | true drop − budget, points | {HEAD} |"
    yield "|---:|---:|" + "---:|" * len(BudgetOutcome)
    for count in (1000, 10_000):
        for miss in MISSES:
            drop, rng, found = (
                (BUDGET + miss) / 100,
                np.random.default_rng(1),
                Counter[BudgetOutcome](),
            )
            for _ in range(draws):
                before = rng.beta(8, 2, size=count)
                rare = rng.random(count) < 0.02
                moved = rng.normal(scale=0.03, size=count)
                # the rare loss is a third of the whole one
                change = moved - drop * 2 / 3 - np.where(rare, drop / 3 / 0.02, 0)
                now = _score(np.clip(before + change, -1, 2))
                found[verdict(Pair(count, 0, 0, None, _score(before)), BUDGET, now)] += 1
            yield f"| {count:,} | {miss:+.1f} | {rates(found)} |"


def _score(values: np.ndarray) -> Score:
    return Score(
        task="segmentation", name="IoU", higher_is_better=True, binary=False,
        index=tuple(range(len(values))), values=tuple(values.tolist()), summary="mean IoU",
        unit="%", value=float(values.mean()), span=3.0,
    )  # fmt: skip


def real(draws: int, dataset: str, model: str, size: int) -> Iterator[str]:
    """Draws of a real data set; the truth is the change on all its test samples."""
    import qreg
    from qreg.records.case import Failure

    yield (
        f"| model, method | drop on all samples | budget, points | true drop − budget | {HEAD} |"
    )
    yield "|---|---:|---:|---:|" + "---:|" * len(BudgetOutcome)
    methods = ("dynamic", "static", "static-per-tensor", "qat")
    options = replace(qreg.Options(), threads=1)
    for one in qreg.compare(model, dataset, methods=methods, options=options)[1:]:
        if isinstance(one, Failure):
            raise SystemExit(f"{one.case}: {one.reason}")
        assert one.accuracy
        flips, total = one.agreements[0].flips, one.accuracy.total
        places = {index: place for place, index in enumerate(one.accuracy.index)}
        change = np.zeros(total, np.int64)
        for flip in flips:
            change[places[flip.index]] = (flip.observed == flip.label) - (
                flip.reference == flip.label
            )
        truth = -100 * float(change.mean())
        for miss in MISSES:
            points = truth - miss
            if points < 0:
                continue
            rng, found = np.random.default_rng(2), Counter[BudgetOutcome]()
            for _ in range(draws):
                drawn = change[rng.choice(total, size=min(size, total), replace=False)]
                won, lost = int((drawn > 0).sum()), int((drawn < 0).sum())
                found[verdict(Pair(len(drawn), won, lost, won + lost), points)] += 1
            yield (
                f"| {model}, {one.case.method} | {truth:.2f} of {total:,} | {points:.2f} | "
                f"{miss:+.1f} | {rates(found)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--real", type=int, default=100)
    parser.add_argument("--size", type=int, default=1000, help="samples of a real draw")
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
