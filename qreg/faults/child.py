"""A process of the proof: ``python -m qreg.faults.child``, with JSON on standard output.

It observes cases with or without a fault, and judges them by the baselines in a folder or records
them there; or it measures their speed-ups over fp32.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from qreg.baselines.applicable import choose
from qreg.baselines.store import Store
from qreg.checks.verdict import judge
from qreg.diagnosis.run import raised_failure
from qreg.faults import get_faults
from qreg.faults.fault import Target
from qreg.faults.noise import noise
from qreg.faults.results import TIERS, Judged, Observed
from qreg.gate.observe import Gate
from qreg.gate.promise import PromiseObservation, observe_promise, with_promise
from qreg.measure.environment import capture_environment
from qreg.measure.options import Options
from qreg.quantization import method_info
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case, Failure
from qreg.records.verdict import Basis, Outcome, Verdict
from qreg.stats.holm import family_alpha
from qreg.tasks import whole_set_summary

#: Number of cases in a run of all shipped ones on one engine: determines the level of the tests.
RUN_OF = 52
_APPROVED = Approval(reason="clean run", date="2000-01-01T00:00:00Z", commit="", qreg="")
_ERROR = Judged(Outcome.ERROR)
#: By `Basis.exact`: judged as in the same environment, and as in another.
PromiseObservations = dict[bool, PromiseObservation | None]


def main() -> None:
    """Observe the cases and print a list with one object per case."""
    args = _arguments()
    options = Options.of_plain(json.loads(args.options))
    options.apply_threads()
    gate = Gate(options)
    cases = [Case(*case) for case in args.case]
    if args.speed_ups:
        json.dump(_speed_ups_of(cases, gate, args.speed_ups), sys.stdout)
        return
    json.dump([_attempt(case, args, gate, options) for case in cases], sys.stdout)


def _speed_ups_of(cases: list[Case], gate: Gate, batch: int) -> list[dict[str, Any]]:
    where = asdict(capture_environment())
    seen = [(case, round(gate.log_speed_up(case, batch), 4)) for case in cases]
    return [{"case": asdict(c), "environment": where, "log_speed_up": log} for c, log in seen]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("DATASET", "MODEL", "METHOD", "ENGINE")
    parser.add_argument("--case", nargs=4, action="append", metavar=names, required=True)
    parser.add_argument("--fault", default="")
    parser.add_argument("--against", type=Path, help="judge by the baselines in this folder")
    parser.add_argument("--record", type=Path, help="put what was observed in this folder")
    parser.add_argument(
        "--speed-ups", type=int, default=0, help="batch size of a speed-up over fp32"
    )
    parser.add_argument("--options", required=True, help="of qreg.measure, as JSON")
    return parser.parse_args()


def _attempt(case: Case, args: argparse.Namespace, gate: Gate, options: Options) -> dict[str, Any]:
    fault = get_faults([args.fault])[0] if args.fault else None
    promises: PromiseObservations = {}
    try:
        with fault.inject(Target(case, options)) if fault else nullcontext():
            snapshot = gate.observe(case)
            if args.against and isinstance(snapshot, Snapshot):
                promises = _observed_promises(snapshot, gate, Store(args.against))
    except Exception as error:
        snapshot = raised_failure(case, error)
    if isinstance(snapshot, Failure):
        sys.stderr.write(snapshot.details)
        return _plain(Observed(case, _ERROR, _ERROR, _ERROR, reason=snapshot.reason))
    if args.record:
        Store(args.record).write(Baseline(snapshot, (_APPROVED,)))
    if not args.against:
        return {"case": asdict(case)}
    return _plain(_judged(snapshot, args.against, promises))


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


def _judged(snapshot: Snapshot, folder: Path, promises: PromiseObservations) -> Observed:
    method = method_info(snapshot.case.method)
    chosen = choose(Store(folder).read(snapshot.case), snapshot.environment, method)
    if chosen is None:
        raise LookupError(f"no clean baseline of {snapshot.case} in {folder}")
    baseline, basis = chosen
    alpha = family_alpha(RUN_OF)
    bits, noise_only = (Basis(exact=tier, reason=basis.reason) for tier in (True, False))

    def short(now: Snapshot, basis: Basis) -> Judged:
        summarize = whole_set_summary(now.score)
        verdict = judge(now, baseline, basis, method, alpha=alpha, summarize=summarize)
        return _short(with_promise(verdict, promises.get(basis.exact), alpha=alpha))

    return Observed(
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


def _short(verdict: Verdict) -> Judged:
    checks = dict.fromkeys(finding.check.value for finding in verdict.findings)
    return Judged(verdict.outcome, tuple(sorted(checks)))


def _plain(observed: Observed) -> dict[str, Any]:
    plain = asdict(observed)
    for tier in TIERS:
        plain[tier]["outcome"] = plain[tier]["outcome"].value
    return plain


if __name__ == "__main__":
    main()
