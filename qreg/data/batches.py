"""Batches of inputs, for what needs no targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qreg.data.dataset import Dataset
from qreg.data.samples import Samples

if TYPE_CHECKING:
    from qreg.data.inputs import Inputs


def batches(samples: Samples, dataset: Dataset, *, size: int) -> Iterator[Inputs]:
    """The samples as model inputs, `size` at a time, in canonical order.

    A speed check's child calls this under other revisions, whose samples are made model inputs by
    their `dataset`.
    """
    for batch in samples.batches(size):
        yield batch.inputs
