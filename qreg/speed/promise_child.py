"""Run in a fresh process: measures each case's speed-up over fp32 once, for a speed-up promise.

python -m qreg.speed.promise_child JOB.json RESULT.json
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from qreg.processes import child


def _measure(job: dict[str, Any], enter: Callable[[str], None]) -> dict[str, Any]:
    enter("importing torch")
    from qreg.errors import QregError
    from qreg.gate.samples import GateSamples, load_gate_samples
    from qreg.gate.speed_up import SpeedUps
    from qreg.measure.environment import capture_environment
    from qreg.metrics.speed_up import SPEED_UP_BATCHES
    from qreg.records.case import Case

    options = child.job_options(job)
    options.apply_threads()

    @cache
    def samples(name: str) -> GateSamples:
        return load_gate_samples(name, options, full=False)

    speed_ups = SpeedUps(samples)
    found: list[dict[str, Any]] = []
    for names in job["cases"]:
        case = Case(*names)
        enter(f"measuring {case}")
        try:
            found.append({"log_speed_ups": speed_ups.log_speed_ups(case, SPEED_UP_BATCHES)})
        except QregError as error:
            found.append({"error": f"{error}".partition("\n")[0]})
    return {"environment": vars(capture_environment()), "found": found}


if __name__ == "__main__":
    sys.exit(child.main(*sys.argv[1:3], measure=_measure))
