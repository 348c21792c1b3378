"""Every tolerance of the statistical tier, each with its reason. The exact tier has none.

`docs/evidence/clean-runs.md` shows the noise they rest on, as it was measured between clean
environments: simulated CPUs, thread counts, PyTorch versions, other float kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

from qreg.records.baseline import Snapshot
from qreg.records.verdict import Basis

#: Relative difference of scales that come from weights or from a checkpoint: they have been
#: equal everywhere; this is ten times the last bit of float32.
STORED_SCALE = 1e-6
#: dB at which float logits count as equal: 116 dB and more were seen with other float kernels.
FLOAT_DB = 80.0
#: Of the log of a promised speed-up so much must be left. Int8 takes the same time within some
#: percent, whatever the neighbours do; fp32 does not: mobilenet_v2 was 1.7 and 2.7 times faster
#: than it within an hour of one machine, 0.55 of the other in logs.
KEPT_HERE = 0.55
#: On another CPU or PyTorch the figure is another one: of simulated CPUs, int8 kernels without
#: VNNI kept two thirds of it, with FBGEMM half. A fallback keeps nothing, so the middle, in logs:
#: the geometric middle between fp32's speed and the promise.
KEPT_ELSEWHERE = 0.5
#: The least spread between processes that is believed, in logs: a dozen processes of one quiet
#: quarter of an hour do not know what other hours bring.
SMALLEST_SPREAD = 0.03
#: The level at which fp32's speed must be told from a promise for it to be one: that of a test in
#: a run of 33 cases.
PROMISE_LEVEL = 1e-4


@dataclass(frozen=True)
class Tolerances:
    """How far a case may be from its baseline.

    Attributes:
        exact: not by a bit; the others do not matter then.
        scale: relative difference of the scales that were observed at calibration.
        zero_point: steps a zero point observed at calibration may move.
        sqnr_db: dB a layer's SQNR may fall.
        logits_db: dB by which logits must lie closer to the baseline's than quantization lies to
            float; negative, dB by which they may lie further.
        score: change of a summary of real scores, as a share of the standard deviation of a
            sample's score.
    """

    exact: bool
    scale: float
    zero_point: int
    sqnr_db: float
    logits_db: float
    score: float


EXACT = Tolerances(exact=True, scale=0.0, zero_point=0, sqnr_db=0.0, logits_db=0.0, score=0.0)
#: Float arithmetic is the same to the bit, so observed ranges are: only kernels differ. They
#: round a few sums otherwise; SQNR fell by 0.49 dB at most, logits lay 13 dB closer at least.
SAME_FLOAT = Tolerances(
    exact=False, scale=STORED_SCALE, zero_point=0, sqnr_db=1.0, logits_db=6.0, score=0.01
)
#: Float arithmetic differs in its last bits. HistogramObserver's search turns 1e-7 into jumps of
#: scales of up to 4.5 % and 2 steps, SQNR fell by 1.83 dB: twice that. Logits that were quantized
#: with other scales err independently, so they may lie 3 dB further (1.8 were seen), and 1 dB.
OTHER_FLOAT = Tolerances(
    exact=False, scale=0.09, zero_point=4, sqnr_db=3.7, logits_db=-4.0, score=0.05
)


def tolerances(now: Snapshot, before: Snapshot, basis: Basis) -> Tolerances:
    """What may differ: nothing, what kernels change, or what float arithmetic changes too."""
    if basis.exact:
        return EXACT
    same_vectors = now.environment.cpu_capability == before.environment.cpu_capability
    observed = bool(now.calibration or before.calibration)
    if not observed or (same_vectors and _float_digest(now) == _float_digest(before)):
        return SAME_FLOAT
    return OTHER_FLOAT


def _float_digest(snapshot: Snapshot) -> str:
    """Digest of fp32's logits in the snapshot's run."""
    return snapshot.numerics.reference or snapshot.numerics.logits.digest
