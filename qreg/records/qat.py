"""What was seen of a fake-quantized model: frozen records of tuples, checked on construction.

Only the standard library may be imported here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RangeDifference:
    """A site whose scale or zero point is not that of its fake-quantizer.

    Attributes:
        site: "conv1: output", "conv1: weight".
        expected, observed: scale and zero point as text, of the first that differ.
    """

    site: str
    expected: str
    observed: str


@dataclass(frozen=True)
class Conversion:
    """The prepared (fake-quantized) and the converted model on the same samples.

    Attributes:
        samples: how many.
        sqnr_db: of the converted outputs relative to the prepared ones, in dB; `EQUAL_DB` of
            `qreg.records.numerics` where they are equal.
        noise_db: of the prepared outputs relative to those with fake quantization off.
        flips: samples predicted differently; None where the outputs are no logits.
        ranges: sites whose range was not kept.
        sites: how many sites were compared.
    """

    samples: int
    sqnr_db: float
    noise_db: float
    flips: int | None
    ranges: tuple[RangeDifference, ...]
    sites: int


@dataclass(frozen=True)
class Deviation:
    """A fake-quantizer that does not do what it is defined to do.

    Attributes:
        site: its module's name.
        what: "output", "gradient inside the range", "gradient outside the range".
        expected, observed: the first values that differ.
    """

    site: str
    what: str
    expected: float
    observed: float


@dataclass(frozen=True)
class TrainingSteps:
    """A few optimizer steps, and the same with fake quantization in plain tensor operations.

    Attributes:
        losses, expected: of each step.
        updates_apart: norm of the difference of both models' weight updates, as a share of the
            norm of the expected ones.
        ranges_apart: largest difference of a range's end, as a share of the range.
        where: the site of that.
        modules: fake-quantizers that were fed a ramp.
        deviations: those that deviate.
        unknown: kinds of fake-quantizers that are not known, and were left out.
        raised: what the model raised that the plain one did not, "" where nothing.
    """

    losses: tuple[float, ...]
    expected: tuple[float, ...]
    updates_apart: float
    ranges_apart: float
    where: str
    modules: int
    deviations: tuple[Deviation, ...]
    unknown: tuple[str, ...] = ()
    raised: str = ""


@dataclass(frozen=True)
class QatObservation:
    """What was seen of a fake-quantized model; each is None where it could not be.

    Attributes:
        notes: why.
    """

    conversion: Conversion | None
    training: TrainingSteps | None
    notes: tuple[str, ...] = ()
