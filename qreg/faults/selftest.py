"""The proof: clean baselines, then all faults, then clean runs, each in a fresh process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from qreg.data.images import ImageSamples
from qreg.faults import BAD_SITE, BUDGET_MISSED, all_faults
from qreg.faults.budget_rates import SAMPLES, real_draws, simulated_scores, simulated_shares
from qreg.faults.fault import NOT_INJECTED, QUANTIZED, Fault, Target
from qreg.faults.planted import planted_sites
from qreg.faults.processes import Launcher, Start
from qreg.faults.results import BudgetRates, CleanRun, FaultRun, LeftOut, PlantedSite, Proof
from qreg.faults.settings import SETTINGS, Setting, true_loss
from qreg.measure.comparison import measure
from qreg.models import build_model
from qreg.records.case import Case
from qreg.records.measurement import Measurement

# Number of processes per promise; see `qreg baseline update --category promise`.
_PROCESSES = 12
#: Of the simulated draws, one in so many is drawn of real samples.
REAL_SHARE = 10
#: A fault that costs a model some points, so that a budget can be missed by a little.
COSTLY = "weights-4-bit"


@dataclass(frozen=True)
class Selftest:
    """The configuration of a selftest.

    Attributes:
        cases: cases of one model into which faults are injected.
        clean_cases: cases of the clean runs.
        clean_runs: number of clean runs per setting.
        folder: an empty folder for clean baselines.
        proofs: of `qreg.faults.PROOFS`.
        draws: simulated draws of each row of `budget-missed`; a tenth as many real ones.
    """

    launcher: Launcher
    cases: tuple[Case, ...]
    clean_cases: tuple[Case, ...]
    faults: tuple[Fault, ...]
    clean_runs: int
    folder: Path
    proofs: tuple[str, ...] = ()
    draws: int = 1000

    def run(self) -> Proof:
        """Run all steps.

        Raises:
            QregError: a clean case cannot be observed.
        """
        pairs = self._pairs()
        fitting = {fault.name for fault, _ in pairs}
        self._record(pairs)
        promised = self._promise([case for fault, case in pairs if not fault.limits])
        hidden = [(f, c) for f, c in pairs if f.shows_in_time and promised[c]]
        shown = [pair for pair in pairs if pair not in hidden]
        timed = not all(promised.values())
        made = tuple(self._inject(shown, jobs=1 if timed else self._cores()))
        reasons = [_not_injected(run) for run in made]
        return Proof(
            faults=tuple(run for run, reason in zip(made, reasons, strict=True) if not reason),
            clean=tuple(self._clean()),
            not_applicable=(
                *self._unfit(fitting),
                *(
                    f"{run.fault} in {run.observed.case.method} ({reason})"
                    for run, reason in zip(made, reasons, strict=True)
                    if reason
                ),
                *(
                    f"{f.name} in {c.method} (no speed-up promise possible: {promised[c]})"
                    for f, c in hidden
                ),
            ),
            left_out=tuple(self._left_out()),
            planted=tuple(self._planted()) if BAD_SITE in self.proofs else (),
            budgets=tuple(self._budgets()) if BUDGET_MISSED in self.proofs else (),
        )

    def _planted(self) -> Iterator[PlantedSite]:
        """Bad sites in the cases of the first engine whose quantized modules are known."""
        for case in self.cases:
            if case.method in QUANTIZED and case.engine == self.cases[0].engine:
                yield from planted_sites(case, self.launcher.options)

    def _budgets(self) -> Iterator[BudgetRates]:
        options, first = self.launcher.options, self.cases[0]
        options.progress(0, 1, "budgets of simulated samples")
        yield from simulated_shares(self.draws)
        yield from simulated_scores(self.draws, SAMPLES[:1])
        for case in self.cases:
            if case.method in QUANTIZED and case.engine == first.engine:
                yield from self._real_budgets(case)

    def _real_budgets(self, case: Case) -> Iterator[BudgetRates]:
        """Of a case, and of it with a fault that costs some points: its budget can be missed."""
        options, count = self.launcher.options, max(1, self.draws // REAL_SHARE)
        worse = all_faults()[COSTLY]
        for fault in (None, worse) if case.method in worse.methods else (None,):
            more = f", {fault.name}" if fault else ""
            options.progress(0, 1, f"budgets of real samples, {case.method}{more}")
            target = Target(case, options)
            with fault.inject(target) if fault else nullcontext():
                found = measure([replace(case, method="fp32"), case], replace(options, limit=0))
            if isinstance(found[1], Measurement):
                yield from real_draws(found[1], count, what=f"{case}{more}")

    def _pairs(self) -> list[tuple[Fault, Case]]:
        models = {case.model for case in self.cases}
        modules = {model: _modules(model) for model in models}
        images = self._of_images
        return [
            (fault, case)
            for case in self.cases
            for fault in self.faults
            if fault.applies(case, modules[case.model], images=images[case.dataset])
        ]

    @cached_property
    def _of_images(self) -> dict[str, bool]:
        """Which datasets are of images."""
        options = self.launcher.options
        names = dict.fromkeys(case.dataset for case in self.cases)
        return {
            name: isinstance(options.load(options.dataset(name), "test"), ImageSamples)
            for name in names
        }

    def _unfit(self, fitting: set[str]) -> Iterator[str]:
        """Faults that fit none of the cases, each with its reason where it is the data's."""
        other_data = not all(self._of_images.values())
        for fault in self.faults:
            if fault.name not in fitting:
                about = " (of images only)" if fault.images and other_data else ""
                yield f"{fault.name}{about}"

    def _record(self, pairs: Sequence[tuple[Fault, Case]]) -> None:
        """Record clean baselines in all needed environments, with one process per engine."""
        wanted = dict.fromkeys((fault.limits, case) for fault, case in pairs)
        if self.clean_runs:
            wanted |= dict.fromkeys(((), case) for case in self.clean_cases)
        groups = dict.fromkeys((limits, case.engine) for limits, case in wanted)
        for number, (limits, engine) in enumerate(groups):
            self.launcher.options.progress(number, len(groups), f"clean baselines on {engine}")
            cases = [case for its, case in wanted if (its, case.engine) == (limits, engine)]
            self.launcher.record(cases, self._home(limits), limits=limits)

    def _promise(self, cases: Sequence[Case]) -> dict[Case, str]:
        """Record speed-up promises; returns why a case's makes no fallback detectable, or ""."""
        quantized = [case for case in dict.fromkeys(cases) if case.method != "fp32"]
        promised: dict[Case, str] = {}
        for number, engine in enumerate(dict.fromkeys(case.engine for case in quantized)):
            self.launcher.options.progress(number, 0, f"speed-ups on {engine}")
            chosen = [case for case in quantized if case.engine == engine]
            promised |= self.launcher.promise(chosen, self._home(()), processes=_PROCESSES)
        return promised

    def _cores(self) -> int:
        """How many cases this machine observes at a time, where no times are measured."""
        return max(1, (os.cpu_count() or 1) // max(1, self.launcher.options.threads))

    def _inject(self, pairs: Sequence[tuple[Fault, Case]], *, jobs: int) -> Iterator[FaultRun]:
        threads = self.launcher.options.threads
        starts = [
            Start(
                (case,),
                threads,
                tuple(fault.limits),
                against=self._home(fault.limits),
                fault=fault.name,
            )
            for fault, case in pairs
        ]
        running = self.launcher.faulty_all(starts, jobs=jobs)
        for fault, _ in pairs:
            yield FaultRun(
                fault=fault.name,
                family=fault.family,
                size=fault.size,
                description=fault.description,
                unchanged_because=fault.unchanged_because,
                observed=next(running),
            )

    def _clean(self) -> Iterator[CleanRun]:
        """Judge by the first process's baselines, and in another environment by its own too."""
        engines = dict.fromkeys(case.engine for case in self.clean_cases)
        plan = [(s, e, n) for s in SETTINGS for e in engines for n in range(self.clean_runs)]
        running = self.launcher.clean_all([self._clean_start(s, e) for s, e, _ in plan])
        for number, (setting, engine, _) in enumerate(plan):
            self.launcher.options.progress(number, len(plan), f"clean, {setting.name}, {engine}")
            found = next(running)
            yield from (
                CleanRun(setting.name, "first", observed)
                for observed in found
                if not true_loss(observed.case, setting)
            )
            if setting.limits:
                start = replace(
                    self._clean_start(setting, engine),
                    threads=self.launcher.options.threads,
                    against=self._home(setting.limits),
                    record=None,
                )
                (own,) = self.launcher.clean_all([start])
                yield from (CleanRun(setting.name, "own", observed) for observed in own)

    def _clean_start(self, setting: Setting, engine: str) -> Start:
        return Start(
            cases=tuple(case for case in self.clean_cases if case.engine == engine),
            threads=setting.threads or self.launcher.options.threads,
            limits=tuple(setting.limits),
            against=self._home(()),
            record=self._home(setting.limits) if setting.limits else None,
        )

    def _left_out(self) -> Iterator[LeftOut]:
        for setting in SETTINGS if self.clean_runs else ():
            for case in self.clean_cases:
                if reason := true_loss(case, setting):
                    yield LeftOut(setting.name, case, reason)

    def _home(self, limits: Sequence[str]) -> Path:
        return self.folder / ("+".join(limits).replace("=", "-") or "first")


def _modules(model: str) -> frozenset[str]:
    return frozenset(type(module).__name__ for module in build_model(model).modules())


def _not_injected(run: FaultRun) -> str:
    """Why a fault found nothing to change, "" if it did."""
    reason = run.observed.reason
    return next((short for long, short in NOT_INJECTED.items() if long in reason), "")
