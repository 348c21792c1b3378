"""What a fresh process of a promise does: its cases' speed-ups over fp32, once each.

python -m qreg.speed.promise_child JOB.json RESULT.json
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from qreg.processes import child


def _measure(job: dict[str, Any], enter: Callable[[str], None]) -> dict[str, Any]:
    enter("importing torch")
    import torch

    from qreg.errors import QregError
    from qreg.gate.samples import Bench, open_bench
    from qreg.gate.speed_up import Pace
    from qreg.measure.environment import capture_environment
    from qreg.measure.subject import Subject, open_workshop, prepare
    from qreg.metrics.speed_up import SPEED_UP_BATCHES
    from qreg.records.case import Case, Failure

    class Quick(Bench):
        """Kernels take as long whatever ranges they are given: a few images are enough."""

        def subject(self, case: Case) -> Subject | Failure:
            shop = open_workshop(self.dataset, self.test, self.options)

            def few() -> Any:
                train = self.options.load(self.dataset, "train")
                return train.take(range(child.CALIBRATION))

            return prepare(case, replace(shop, calibration=few))

    torch.set_num_threads(job["threads"])
    options = child.options_of(job)

    @cache
    def bench(name: str) -> Bench:
        found = open_bench(name, options, full=False)
        return Quick(found.dataset, found.test, found.options)

    pace = Pace(bench)
    found: list[dict[str, Any]] = []
    for names in job["cases"]:
        case = Case(*names)
        enter(f"measuring {case}")
        try:
            found.append({"log_speed_ups": pace.log_speed_ups(case, SPEED_UP_BATCHES)})
        except QregError as error:
            found.append({"error": f"{error}".partition("\n")[0]})
    return {"environment": vars(capture_environment()), "found": found}


if __name__ == "__main__":
    sys.exit(child.main(*sys.argv[1:3], measure=_measure))
