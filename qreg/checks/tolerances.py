"""Every tolerance of the statistical tier, each with its reason. The exact tier has none.

`docs/evidence/clean-runs.md` shows the noise that they are based on, measured between clean
environments: emulated CPUs, thread counts, PyTorch versions, other float kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

from qreg.records.baseline import Snapshot
from qreg.records.verdict import Basis

#: Relative difference of scales from weights or checkpoints: they were equal everywhere; this is
#: ten times the last bit of float32.
STORED_SCALE = 1e-6
#: dB at which float logits count as equal: with other float kernels they were 116 dB or closer.
FLOAT_DB = 80.0
#: Share of the log of a promised speed-up that must remain. The time of int8 is stable within a
#: few percent whatever the neighbours do, that of fp32 is not: mobilenet_v2 was 1.7 and 2.7 times
#: faster than fp32 within an hour on one machine, a ratio of 0.55 in logs.
KEPT_HERE = 0.55
#: On another CPU or PyTorch the speed-up differs: on emulated CPUs, int8 kernels without VNNI kept
#: two thirds of it, with FBGEMM half. A fallback keeps nothing, so this is the middle in logs, the
#: geometric mean of fp32's speed and the promise.
KEPT_ELSEWHERE = 0.5
#: On a real CPU without VNNI (AMD EPYC, AVX2) resnet20's static case kept 0.25 of what was recorded
#: with it: three instructions add what one adds. Half of that is so near fp32's speed that a
#: fallback is not detectable there; kernels slower than fp32's are.
KEPT_WITHOUT_VNNI = 0.12
#: The smallest assumed spread between processes, in logs: a dozen processes in a quiet quarter of
#: an hour underestimate the spread over a day.
SMALLEST_SPREAD = 0.03
#: Standard deviation of the log of a speed-up between processes, by which a budget's is judged from
#: one process: the largest of the 54 promises recorded for the shipped models, 12 processes each
#: (their root mean square is 0.062).
SPEED_UP_SPREAD = 0.11
#: dB by which a converted model may be further from the prepared (fake-quantized) one than that is
#: from float: of the shipped QAT cases on all engines the furthest was 3.2 dB further away
#: (mobilenet_v2), because PyTorch converts weights by another scale than it trains with: twice
#: that, rounded.
CONVERSION_DB = 6.0
#: A few steps of training with PyTorch's fake-quantizers, relative to the same steps with plain
#: tensor operations: losses, weight updates (norm of the difference) and ranges were equal bit by
#: bit in all shipped checkpoints. Where a kernel fuses a multiplication and an addition, a last bit
#: can move a value at a tie by one code of 255; a wrong gradient or range moves all of them.
TRAINING_LOSS = 0.01
TRAINING_UPDATES = 0.05
TRAINING_RANGES = 1e-4
#: The level at which fp32's speed must be distinguishable for a speed-up to be promised: that of a
#: test in a run of 33 cases.
PROMISE_LEVEL = 1e-4


@dataclass(frozen=True)
class Tolerances:
    """How much a case may differ from its baseline.

    Attributes:
        exact: not in any bit; the other tolerances are then unused.
        scale: relative difference of scales observed in calibration.
        zero_point: difference of zero points observed in calibration, in steps.
        sqnr_db: change of a layer's SQNR, in dB.
        logits_db: dB by which logits must be closer to the baseline's than quantization is to
            float; if negative, dB by which they may be further away.
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
#: Float arithmetic is bit-equal, and so are observed ranges: only kernels differ. They round a few
#: sums differently; SQNR fell by at most 0.49 dB, and logits were at least 13 dB closer. Summaries
#: of scores did not move on simulated CPUs (docs/evidence/scores.md): a hundredth of the standard
#: deviation of a sample's score leaves room for a few roundings.
SAME_FLOAT = Tolerances(
    exact=False, scale=STORED_SCALE, zero_point=0, sqnr_db=1.0, logits_db=6.0, score=0.01
)
#: Float arithmetic differs in the last bits. HistogramObserver's search turns 1e-7 into jumps of
#: up to 4.5 % in scales and 2 steps, and SQNR fell by 1.83 dB: twice that. Logits quantized with
#: other scales err independently, so they may be 3 dB further away (1.8 observed), plus 1 dB.
#: Summaries of scores moved by 0.021 standard deviations: twice that, rounded up.
OTHER_FLOAT = Tolerances(
    exact=False, scale=0.09, zero_point=4, sqnr_db=3.7, logits_db=-4.0, score=0.05
)


def tolerances(observed: Snapshot, baseline: Snapshot, basis: Basis) -> Tolerances:
    """The tolerances: none, for other kernels, or for other float arithmetic too."""
    if basis.exact:
        return EXACT
    same_vectors = observed.environment.cpu_capability == baseline.environment.cpu_capability
    calibrated = bool(observed.calibration or baseline.calibration)
    if not calibrated or (same_vectors and _float_digest(observed) == _float_digest(baseline)):
        return SAME_FLOAT
    return OTHER_FLOAT


def _float_digest(snapshot: Snapshot) -> str:
    """Digest of fp32's logits in the snapshot's run."""
    return snapshot.numerics.reference or snapshot.numerics.logits.digest
