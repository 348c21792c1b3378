"""From a case to its verdict: baseline, observation, judgement, explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qreg.baselines.applicable import choose
from qreg.baselines.store import Store
from qreg.budget.verdict import with_budget
from qreg.checks.conversion import judge_qat
from qreg.checks.verdict import failed, judge, no_baseline, other_weights, with_finding
from qreg.diagnosis.run import raised_failure
from qreg.errors import CorruptFileError, MissingDataError, OtherWeightsError, QregError
from qreg.gate.explain import explain
from qreg.gate.observe import Gate
from qreg.gate.promise import PromiseObservation, kept_from, observe_promise, with_promise
from qreg.measure.subject import Subject
from qreg.quantization import method_info
from qreg.records.baseline import Baseline, Snapshot
from qreg.records.budget import NO_BUDGET, Budget
from qreg.records.case import Case, Failure
from qreg.records.detail import CaseDetail
from qreg.records.verdict import CaseResult, Verdict
from qreg.tasks import whole_set_summary


@dataclass(frozen=True, eq=False)
class Judged:
    """A judged case, with what its verdict came from."""

    verdict: Verdict
    observed: Snapshot
    baseline: Baseline | None
    subject: Subject | None


class Judge:
    """Judges one case after another.

    Args:
        alpha: the level of each test; see `qreg.stats.holm.family_alpha`.
        details: keep what `detail` needs of the last case.
        budget: what the owner allows, judged independently of the baselines.
    """

    def __init__(
        self,
        gate: Gate,
        store: Store,
        *,
        alpha: float,
        details: bool = False,
        budget: Budget = NO_BUDGET,
    ) -> None:
        self._gate, self._store, self._alpha, self._budget = gate, store, alpha, budget
        self._details = details
        self._last: Judged | None = None

    def verdict(self, case: Case) -> Verdict | Failure:
        """Judge a case. Anything wrong with it or its baseline is an ERROR of this case only.

        Returns:
            A verdict; or a failure where this machine lacks what the case needs.

        Raises:
            MissingDataError: the dataset is not on this machine.
        """
        self._last = None
        try:
            return self._kept(self._verdict(case, self._store.read(case)))
        except MissingDataError:
            raise
        except OtherWeightsError as error:
            return other_weights(case, str(error), error.hint)
        except QregError as error:
            return failed(Failure(case, str(error), error.hint, unavailable=False))
        except (Exception, SystemExit) as error:
            return failed(raised_failure(case, error))

    def _kept(self, verdict: Verdict | Failure) -> Verdict | Failure:
        if self._last is not None and isinstance(verdict, Verdict):
            self._last = replace(self._last, verdict=verdict)
        return verdict

    def detail(self, case: Case) -> CaseDetail:
        """What a page shows of the case that was judged last, collected now; never raises.

        Of another case, and of one that could not be observed, there is none.
        """
        from qreg.gate.detail import collect

        last, self._last = self._last, None
        if last is None or last.observed.case != case:
            return CaseDetail(case)
        return collect(last, self._gate)

    def determinants(self, case: Case) -> tuple[str, ...]:
        """What determines the result of a case besides code and versions, as digests and texts.

        Raises:
            QregError, or what the case's own code raises: it cannot be known.
        """
        baselines = self._store.read(case)
        self._gate.draw_as(case.dataset, baselines)
        return (self._store.digest(case), *self._gate.determinants(case))

    def result(self, case: Case) -> CaseResult:
        """The same as what travels to another process: missing data is no error either."""
        try:
            found = self.verdict(case)
        except MissingDataError as error:
            failure = Failure(case, str(error), error.hint, unavailable=True)
            return CaseResult(failure=failure, no_data=True)
        return CaseResult(found) if isinstance(found, Verdict) else CaseResult(failure=found)

    def _verdict(self, case: Case, baselines: tuple[Baseline, ...]) -> Verdict | Failure:
        self._gate.draw_as(case.dataset, baselines)
        observed = self._gate.observe(case)
        if isinstance(observed, Failure):
            return observed if observed.unavailable else failed(observed)
        baseline, verdict = judged(observed, baselines, alpha=self._alpha)
        if self._details:
            self._last = Judged(verdict, observed, baseline, self._gate.observed)
        notes = (*self._gate.notes(case.dataset), *self._gate.qat.notes)
        verdict = replace(verdict, data_notes=notes)
        if baseline is not None:
            verdict = explain(verdict, observed, baseline.snapshot, self._gate)
        for finding in judge_qat(self._gate.qat):
            verdict = with_finding(verdict, finding)
        limits = self._budget.of(case, float_only=method_info(case.method).float_only)
        if limits:
            verdict = with_budget(verdict, self._gate.judge_limits(observed, limits))
        if baseline is None:
            return replace(verdict, notes=(*verdict.notes, *self._by_other_names(observed)))
        return with_promise(verdict, self._observed_promise(observed), alpha=self._alpha)

    def _by_other_names(self, observed: Snapshot) -> tuple[str, ...]:
        """A model that was renamed: the models of whose baselines the weights are the very same."""
        case = observed.case
        try:
            others = [
                one.model
                for one in self._store.cases()
                if one != case and replace(one, model=case.model) == case
                if observed.checkpoint in {b.snapshot.checkpoint for b in self._store.read(one)}
            ]
        except CorruptFileError:  # the damaged file is an error of its own case
            return ()
        return tuple(
            f"the same weights have a baseline as model {name}: if the model was only renamed, "
            f'name = "{name}" in [tool.qreg] keeps it'
            for name in others
        )

    def _observed_promise(self, observed: Snapshot) -> PromiseObservation | None:
        """Check the speed-up promise with the observed model, even where its numbers moved."""
        promises = self._store.promises(observed.case)
        enough = kept_from(promises, observed.environment, alpha=self._alpha)
        return observe_promise(
            promises,
            observed.environment,
            lambda batch: self._gate.log_speed_up(observed.case, batch, enough=enough),
            alpha=self._alpha,
        )


def judged(
    observed: Snapshot, baselines: Sequence[Baseline], *, alpha: float
) -> tuple[Baseline | None, Verdict]:
    """The applicable baseline, None where there is none, and the verdict by it."""
    method = method_info(observed.case.method)
    chosen = choose(baselines, observed.environment, method)
    if chosen is None:
        return None, no_baseline(observed, method)
    baseline, basis = chosen
    summarize = whole_set_summary(observed.score)
    return baseline, judge(observed, baseline, basis, method, alpha=alpha, summarize=summarize)
