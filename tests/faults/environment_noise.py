"""How far this environment lies from the one the shipped baselines were recorded in.

    python -m tests.faults.environment_noise --engines x86,onednn
    ONEDNN_MAX_CPU_ISA=AVX512_CORE python -m tests.faults.environment_noise --engines onednn

Observes every shipped case, judges it as the gate would, and prints the largest differences of
any case as a row of the table in docs/evidence/clean-runs.md, which the tolerances of
`qreg/checks/tolerances.py` rest on. True losses, cases whose sums saturate here, are named with
their outcome and left out.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from qreg.baselines.applicable import choose
from qreg.baselines.store import Store
from qreg.checks.verdict import judge
from qreg.faults.noise import EnvironmentNoise, noise
from qreg.faults.settings import Setting, true_loss
from qreg.gate.explain import explain
from qreg.gate.observe import Gate
from qreg.measure.environment import capture_environment
from qreg.quantization import method_info
from qreg.records.baseline import Snapshot
from qreg.records.case import Case
from qreg.records.verdict import Verdict
from qreg.selection import gate_options, select_cases
from qreg.settings import read_settings
from qreg.stats.holm import family_alpha

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Observe, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="x86")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-mkldnn", action="store_true", help="other float convolutions")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.no_mkldnn:
        torch.backends.mkldnn.set_flags(False)
    settings = read_settings(ROOT / "pyproject.toml")
    assert settings is not None
    cases = select_cases(settings, engines=args.engines)
    gate = Gate(gate_options(settings))
    cpu = "another" if args.no_mkldnn else ""
    verdicts, worst, lost = Counter[str](), EnvironmentNoise(), []
    for case in cases:
        found = _judged(gate, case, alpha=family_alpha(len(cases)), cpu=cpu)
        if found is None:
            continue
        verdict, apart = found
        if true_loss(case, Setting("here", limits=capture_environment().limits)):
            lost.append(f"{case} {verdict.outcome.value}")
        else:
            verdicts[verdict.outcome.value] += 1
            worst = worst.worst(apart)
    print(_row(verdicts, worst))
    print(f"true losses, left out: {', '.join(lost) or 'none'}")


def _judged(
    gate: Gate, case: Case, *, alpha: float, cpu: str
) -> tuple[Verdict, EnvironmentNoise] | None:
    now = gate.observe(case)
    if not isinstance(now, Snapshot):
        return None
    if cpu:
        now = replace(now, environment=replace(now.environment, cpu=cpu))
    method = method_info(case.method)
    chosen = choose(Store(ROOT / "baselines").read(case), now.environment, method)
    assert chosen is not None, f"{case} has no baseline"
    before, basis = chosen
    verdict = explain(judge(now, before, basis, method, alpha=alpha), now, before.snapshot, gate)
    return verdict, noise(now, before.snapshot)


def _row(verdicts: Counter[str], worst: EnvironmentNoise) -> str:
    outcomes = ", ".join(f"{count} {name}" for name, count in verdicts.most_common())
    return (
        f"{outcomes}: SQNR fall {worst.sqnr_fall_db:.2f} dB, logits closer "
        f"{worst.logits_closer_db:.1f} dB, float logits {worst.float_logits_db:.1f} dB, "
        f"scale {worst.scale:.2g}, zero point {worst.zero_point}, flips {worst.flips}"
    )


if __name__ == "__main__":
    main()
