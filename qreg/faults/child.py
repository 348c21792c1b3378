"""One process of the proof: ``python -m qreg.faults.child``, JSON on standard output.

It observes cases, with a fault or without; judges them against the baselines in a folder, or
records them there; or measures how much faster than fp32 they are.
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

#: Cases of a run of all that is shipped, on one engine: what the tests' level is shared among.
RUN_OF = 52
_APPROVED = Approval(reason="clean run", date="2000-01-01T00:00:00Z", commit="", qreg="")
_ERROR = Judged(Outcome.ERROR)
#: By tier: as in the same environment, and as in another.
Looks = dict[bool, PromiseObservation | None]


def main() -> None:
    """Observe, and print what was found as a list of one object a case."""
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
    looks: Looks = {}
    try:
        with fault.inject(Target(case, options)) if fault else nullcontext():
            seen = gate.observe(case)
            if args.against and isinstance(seen, Snapshot):
                looks = _looks(seen, gate, Store(args.against))
    except Exception as error:
        seen = raised_failure(case, error)
    if isinstance(seen, Failure):
        sys.stderr.write(seen.details)
        return _plain(Observed(case, _ERROR, _ERROR, _ERROR, reason=seen.reason))
    if args.record:
        Store(args.record).write(Baseline(seen, (_APPROVED,)))
    if not args.against:
        return {"case": asdict(case)}
    return _plain(_judged(seen, args.against, looks))


def _looks(seen: Snapshot, gate: Gate, store: Store) -> Looks:
    """What the promise says, as in the same environment and as in another; while a fault is in."""
    held, alpha = store.promises(seen.case), family_alpha(RUN_OF)
    where = seen.environment
    other = replace(where, cpu=f"not {where.cpu}")

    def look(batch: int) -> float:
        return gate.log_speed_up(seen.case, batch)

    return {
        exact: observe_promise(held, one, look, alpha=alpha)
        for exact, one in ((True, where), (False, other))
    }


def _judged(seen: Snapshot, folder: Path, looks: Looks) -> Observed:
    method = method_info(seen.case.method)
    chosen = choose(Store(folder).read(seen.case), seen.environment, method)
    if chosen is None:
        raise LookupError(f"no clean baseline of {seen.case} in {folder}")
    baseline, basis = chosen
    alpha = family_alpha(RUN_OF)
    bits, noise_only = (Basis(exact=tier, reason=basis.reason) for tier in (True, False))

    def short(now: Snapshot, basis: Basis) -> Judged:
        verdict = judge(now, baseline, basis, method, alpha=alpha)
        return _short(with_promise(verdict, looks.get(basis.exact), alpha=alpha))

    return Observed(
        case=seen.case,
        exact=short(seen, bits),
        statistical=short(seen, noise_only),
        other_float=short(_elsewhere(seen), noise_only),
        same_environment=basis.exact,
        unchanged=replace(seen, environment=baseline.snapshot.environment) == baseline.snapshot,
        noise=noise(seen, baseline.snapshot),
    )


def _elsewhere(seen: Snapshot) -> Snapshot:
    """The same as if another CPU had made it, whose float arithmetic differs."""
    other = f"not {seen.environment.cpu_capability}"
    return replace(seen, environment=replace(seen.environment, cpu_capability=other))


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
