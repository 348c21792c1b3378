"""Trying methods on a model, each on the engine that has its kernels."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qreg.check.records import Attempt, AttemptOutcome, InputShape, Remark
from qreg.check.run import CheckRequest, _attempt, _labels_read, check
from qreg.data import Batch


def test_what_onnxruntime_runs_is_tried_on_onnxruntime() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    inputs = (InputShape((3, 32, 32)),)
    request = CheckRequest("simple_cnn", ("ort-fp32",), "x86", inputs=inputs, tracing=False)
    (attempt,) = check(request).attempts
    assert attempt.outcome is AttemptOutcome.WORKS, attempt


class _Ending(nn.Module):
    def forward(self, x: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


def ending() -> nn.Module:
    return _Ending()


def aborting() -> nn.Module:
    os.kill(os.getpid(), signal.SIGKILL)
    return nn.Identity()


def leaving() -> nn.Module:
    os._exit(0)


def exiting() -> nn.Module:
    sys.exit(3)


def interrupting() -> nn.Module:
    raise KeyboardInterrupt


def _checked(factory: str) -> tuple[Remark, Attempt]:
    inputs = (InputShape((4,)),)
    request = CheckRequest(
        f"{__name__}:{factory}", ("dynamic",), "x86", inputs=inputs, tracing=False
    )
    report = check(request)
    (remark,), (attempt,) = report.contract, report.attempts
    assert "PyTorch" not in f"{attempt.reason} {attempt.remedy}"
    return remark, attempt


@pytest.mark.parametrize(
    ("factory", "what", "how"),
    [
        ("aborting", "factory", "SIGKILL"),
        ("leaving", "factory", "exited 0 without a result"),
        ("ending", "model", "SIGKILL"),
    ],
)
def test_a_process_that_the_models_own_code_ends(factory: str, what: str, how: str) -> None:
    remark, attempt = _checked(factory)
    assert f"the {what} ended the process" in remark.text
    assert how in remark.text
    assert f"the {what} ends the process" in attempt.reason


@pytest.mark.parametrize(
    ("factory", "how"), [("exiting", "SystemExit: 3"), ("interrupting", "KeyboardInterrupt")]
)
def test_a_factory_that_ends_its_program(factory: str, how: str) -> None:
    remark, attempt = _checked(factory)
    assert remark.text.endswith(f"does not run: {how}")
    assert attempt.reason == how
    assert "not end the program" in attempt.remedy


def test_a_method_that_exceeds_its_time_is_given_more() -> None:
    found = _attempt("static", {"died": "gave no result in 9 s", "details": "stacks"}, "")
    assert (found.reason, found.outcome) == ("gave no result in 9 s", AttemptOutcome.BLOCKED)
    assert "--timeout" in found.advice
    crashed = _attempt("static", {"died": "was killed by SIGSEGV"}, "")
    assert "PyTorch's own fault" in crashed.advice


def test_labels_that_only_items_tell() -> None:
    def batches(*targets: Any) -> list[Batch]:
        one = torch.zeros(2, 3)
        return [Batch(one, given, np.arange(2)) for given in targets]

    found = _labels_read("classification", batches(torch.tensor([0, 2]), torch.tensor([1, 1])))
    assert found is not None
    assert found.tolist() == [0, 2, 1, 1]
    for other in (torch.zeros(2), torch.tensor([[0], [1]]), {"a": torch.tensor([0, 1])}):
        assert _labels_read("classification", batches(other)) is None
    assert _labels_read("classification", batches(torch.tensor([0, -1]))) is None
    assert _labels_read("agreement", batches(torch.tensor([0, 1]))) is None
