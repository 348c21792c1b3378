"""Speed-ups over fp32, measured interleaved in this process."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch

from qreg.errors import QregError
from qreg.gate.samples import GateSamples
from qreg.measure.subject import Subject
from qreg.metrics.speed_up import Fastest, log_speed_up
from qreg.quantization.engines import use_engine
from qreg.records.case import Case, Failure


class SpeedUps:
    """Measures speed-ups over fp32; keeps the fp32 model for further cases of the same model.

    Args:
        samples: loads the dataset of a name.
        share: time fp32 fully for the first case of a model, and rarely for an observed model of
            the further ones; newly built models are always compared with all of its runs.
    """

    def __init__(self, samples: Callable[[str], GateSamples], *, share: bool = False) -> None:
        self._samples, self._share = samples, share
        self._fastest: dict[int, Fastest] = {}
        self._float: Subject | None = None

    def fp32(self, case: Case) -> Subject:
        """The case's model in fp32.

        Raises:
            QregError: it cannot be built.
        """
        kept = self._float
        if kept is None or (kept.case.dataset, kept.case.model) != (case.dataset, case.model):
            kept = self._build(Case(case.dataset, case.model, "fp32", case.engine))
            self._fastest = {}
        self._float = kept
        return kept

    def log_speed_up(
        self, case: Case, *, batch: int, prepared: Subject | None = None, enough: float = math.inf
    ) -> float:
        """Natural log of fp32's time over the case's, for `prepared` or a newly built model.

        Args:
            enough: a value that needs no further runs, where `prepared` is measured and times are
                shared.

        Raises:
            QregError: the case or fp32 cannot be built.
        """
        return self.log_speed_ups(case, (batch,), prepared=prepared, enough=enough)[0]

    @torch.no_grad()
    def log_speed_ups(
        self,
        case: Case,
        batches: Sequence[int],
        *,
        prepared: Subject | None = None,
        enough: float = math.inf,
    ) -> list[float]:
        """The same for several batch sizes.

        Raises:
            QregError: the case or fp32 cannot be built.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            subject, reference = prepared or self._build(case), self.fp32(case)
        found = []
        with use_engine(case.engine):
            for batch in batches:
                images = self._samples(case.dataset).first(batch)
                runs = (partial(subject.run, images), partial(reference.run, images))
                if self._share and prepared:
                    fastest = self._fastest.setdefault(batch, Fastest())
                    found.append(log_speed_up(*runs, fastest, enough=enough))
                else:
                    found.append(log_speed_up(*runs))
        return found

    def _build(self, case: Case) -> Subject:
        made = self._samples(case.dataset).subject(case)
        if isinstance(made, Failure):
            raise QregError(f"{made.case}: {made.text}", hint=made.hint, details=made.details)
        return made
