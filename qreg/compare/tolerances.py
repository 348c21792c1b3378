"""Every tolerance of the statistical tier, each with its reason. The exact tier has none.

`docs/detection.md` shows the noise they rest on, as it was measured.
"""

from __future__ import annotations

#: Relative difference of scales. Observed ranges follow float arithmetic, whose last bits differ
#: between CPUs; weights' scales and zero points have been equal everywhere.
SCALE = 1e-3
#: Steps a zero point may move.
ZERO_POINT = 0
#: dB a layer's SQNR may fall: twice the largest fall seen between clean environments.
SQNR_DB = 1.0
#: dB by which the logits must lie closer to the baseline's than quantization lies to float: half
#: of the smallest distance seen between clean environments.
LOGITS_DB = 6.0
#: dB at which float logits count as equal: float32 arithmetic in another order keeps more.
FLOAT_DB = 80.0
