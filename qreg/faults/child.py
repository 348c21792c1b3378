"""A process of the proof: ``python -m qreg.faults.child JOB.json RESULT.json``.

It observes cases with or without a fault, and judges them by the baselines in a folder or records
them there; or it measures their speed-ups over fp32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from qreg.baselines.applicable import choose
from qreg.baselines.store import Store
from qreg.checks.conversion import judge_qat
from qreg.checks.verdict import judge, with_finding
from qreg.diagnosis.run import raised_failure
from qreg.faults import get_faults
from qreg.faults.fault import Target
from qreg.faults.noise import noise
from qreg.faults.results import ObservedCase, TierVerdict
from qreg.gate.observe import Gate
from qreg.gate.promise import PromiseObservation, observe_promise, with_promise
from qreg.measure.environment import capture_environment
from qreg.measure.options import Options
from qreg.processes import child
from qreg.processes.executor import Places
from qreg.processes.forked import run_together
from qreg.processes.sending import settings_at
from qreg.quantization import method_info
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case, Failure
from qreg.records.decode import plain
from qreg.records.verdict import Basis, Finding, Outcome, Verdict
from qreg.selection import bring_weights, project_settings, use_project
from qreg.stats.holm import family_alpha
from qreg.tasks import whole_set_summary

#: Number of cases in a run of all shipped ones on one engine: determines the level of the tests.
RUN_OF = 52
_APPROVED = Approval(reason="clean run", date="2000-01-01T00:00:00Z", commit="", qreg="")
_ERROR = TierVerdict(Outcome.ERROR)
#: By `Basis.exact`: judged as in the same environment, and as in another.
PromiseObservations = dict[bool, PromiseObservation | None]


def _work(job: dict[str, Any], enter: Callable[[str], None]) -> dict[str, Any]:
    """What was observed of the job's cases, or their speed-ups over fp32.

    Its keys: cases, options; and of fault, against, record (folders) and speed_ups (a batch size)
    those that are asked for. Or pieces, pairs of a file for a result and such a job, each done in
    a fork of this process; and of these, how many at a time (jobs) and how long (seconds).
    """
    enter("observing")
    if pieces := job.get("pieces"):
        works = [(Path(file), partial(_work, one, enter)) for file, one in pieces]
        run_together(works, jobs=job["jobs"], seconds=job["seconds"])
        return {}
    options = Options.of_plain(job["options"])
    options.apply_threads()
    bring_weights({model: Path(file) for model, file in options.weight_files})
    if moved := job.get("moved"):  # names mean what the project says
        use_project(settings_at(job["root"], Places(tuple(map(tuple, moved)))))
    else:
        project_settings()
    gate = Gate(options)
    cases = [Case(*names) for names in job["cases"]]
    if batch := job.get("speed_ups"):
        logs = [round(gate.log_speed_up(case, batch), 4) for case in cases]
        return {"environment": vars(capture_environment()), "log_speed_ups": logs}
    return {"observed": [_attempt(case, job, gate, options) for case in cases]}


def _attempt(
    case: Case, job: dict[str, Any], gate: Gate, options: Options
) -> dict[str, Any] | None:
    fault = get_faults([job["fault"]])[0] if job.get("fault") else None
    against = Path(job["against"]) if job.get("against") else None
    promises: PromiseObservations = {}
    try:
        with fault.inject(Target(case, options)) if fault else nullcontext():
            snapshot = gate.observe(case)
            if against and isinstance(snapshot, Snapshot):
                promises = _observed_promises(snapshot, gate, Store(against))
    except Exception as error:
        snapshot = raised_failure(case, error)
    if isinstance(snapshot, Failure):
        sys.stderr.write(snapshot.details)
        return _plain(ObservedCase(case, _ERROR, _ERROR, _ERROR, reason=snapshot.reason))
    if job.get("record"):
        Store(Path(job["record"])).write(Baseline(snapshot, (_APPROVED,)))
    findings = tuple(judge_qat(gate.qat))
    return _plain(_judged(snapshot, against, promises, findings)) if against else None


def _observed_promises(snapshot: Snapshot, gate: Gate, store: Store) -> PromiseObservations:
    """Observe the promise, as in the same environment and as in another, with the fault active."""
    stored, alpha = store.promises(snapshot.case), family_alpha(RUN_OF)
    where = snapshot.environment
    other = replace(where, cpu=f"not {where.cpu}")

    def look(batch: int) -> float:
        return gate.log_speed_up(snapshot.case, batch)

    return {
        exact: observe_promise(stored, one, look, alpha=alpha)
        for exact, one in ((True, where), (False, other))
    }


def _judged(
    snapshot: Snapshot,
    folder: Path,
    promises: PromiseObservations,
    findings: tuple[Finding, ...],
) -> ObservedCase:
    method = method_info(snapshot.case.method)
    chosen = choose(Store(folder).read(snapshot.case), snapshot.environment, method)
    if chosen is None:
        raise LookupError(f"no clean baseline of {snapshot.case} in {folder}")
    baseline, basis = chosen
    alpha = family_alpha(RUN_OF)
    bits, noise_only = (Basis(exact=tier, reason=basis.reason) for tier in (True, False))

    def short(now: Snapshot, basis: Basis) -> TierVerdict:
        summarize = whole_set_summary(now.score)
        verdict = judge(now, baseline, basis, method, alpha=alpha, summarize=summarize)
        for finding in findings:
            verdict = with_finding(verdict, finding)
        return _short(with_promise(verdict, promises.get(basis.exact), alpha=alpha))

    return ObservedCase(
        case=snapshot.case,
        exact=short(snapshot, bits),
        statistical=short(snapshot, noise_only),
        other_float=short(_elsewhere(snapshot), noise_only),
        same_environment=basis.exact,
        unchanged=replace(snapshot, environment=baseline.snapshot.environment) == baseline.snapshot,
        noise=noise(snapshot, baseline.snapshot),
    )


def _elsewhere(snapshot: Snapshot) -> Snapshot:
    """The snapshot as if recorded on another CPU with different float arithmetic."""
    other = f"not {snapshot.environment.cpu_capability}"
    return replace(snapshot, environment=replace(snapshot.environment, cpu_capability=other))


def _short(verdict: Verdict) -> TierVerdict:
    checks = dict.fromkeys(finding.check.value for finding in verdict.findings)
    return TierVerdict(verdict.outcome, tuple(sorted(checks)))


def _plain(observed: ObservedCase) -> dict[str, Any]:
    """As JSON; noise may be infinite."""
    noise = asdict(observed.noise) if observed.noise else None
    found: dict[str, Any] = plain(replace(observed, noise=None))
    return {**found, "noise": noise}


if __name__ == "__main__":
    sys.exit(child.main(*sys.argv[1:3], measure=_work))
