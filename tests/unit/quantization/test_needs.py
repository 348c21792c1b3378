"""What PyTorch logs of its own work reaches nobody who quantizes a model."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from qreg.quantization.needs import logging_silenced


def test_pytorchs_trace_of_an_export_is_not_captured(caplog: pytest.LogCaptureFixture) -> None:
    inputs = (torch.zeros(2, 1),)
    trace = logging.getLogger("torch.__trace")
    trace.addHandler(caplog.handler)  # newer pytests do
    try:
        with logging_silenced():
            torch.export.export(nn.Identity(), inputs)
        assert not caplog.records
        trace.debug("somebody's record")
        assert {one.name for one in caplog.records} == {trace.name}
    finally:
        trace.removeHandler(caplog.handler)
