"""How much faster than fp32 a case is, the two run in turn in this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch

from qreg.errors import QregError
from qreg.gate.samples import GateSamples
from qreg.measure.subject import Subject
from qreg.metrics.speed_up import log_speed_up
from qreg.quantization.engines import use_engine
from qreg.records.case import Case, Failure


class SpeedUps:
    """Speed-ups over fp32, whose model is kept for further cases of the same model.

    Args:
        samples: returns the dataset of a name, made ready.
    """

    def __init__(self, samples: Callable[[str], GateSamples]) -> None:
        self._samples = samples
        self._float: Subject | None = None

    def fp32(self, case: Case) -> Subject:
        """The case's model in fp32.

        Raises:
            QregError: it cannot be made.
        """
        held = self._float
        if held is None or (held.case.dataset, held.case.model) != (case.dataset, case.model):
            held = self._made(Case(case.dataset, case.model, "fp32", case.engine))
        self._float = held
        return held

    def log_speed_up(self, case: Case, *, batch: int, made: Subject | None = None) -> float:
        """Natural log of fp32's time over the case's, of `made` or of a model made anew.

        Raises:
            QregError: the case or fp32 cannot be made.
        """
        return self.log_speed_ups(case, (batch,), made=made)[0]

    @torch.no_grad()
    def log_speed_ups(
        self, case: Case, batches: Sequence[int], *, made: Subject | None = None
    ) -> list[float]:
        """The same for batches of several sizes.

        Raises:
            QregError: the case or fp32 cannot be made.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            subject, reference = made or self._made(case), self.fp32(case)
        found = []
        with use_engine(case.engine):
            for batch in batches:
                images = self._samples(case.dataset).first(batch)
                runs = (partial(subject.run, images), partial(reference.run, images))
                found.append(log_speed_up(*runs))
        return found

    def _made(self, case: Case) -> Subject:
        made = self._samples(case.dataset).subject(case)
        if isinstance(made, Failure):
            raise QregError(f"{made.case}: {made.text}", hint=made.hint, details=made.details)
        return made
