"""Trying methods on a model, each on the engine that has its kernels."""

from __future__ import annotations

import pytest

from qreg.check.records import AttemptOutcome, InputShape
from qreg.check.run import CheckRequest, check


def test_what_onnxruntime_runs_is_tried_on_onnxruntime() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    inputs = (InputShape((3, 32, 32)),)
    request = CheckRequest("simple_cnn", ("ort-fp32",), "x86", inputs=inputs, tracing=False)
    (attempt,) = check(request).attempts
    assert attempt.outcome is AttemptOutcome.WORKS, attempt
