from __future__ import annotations

import pytest
import torch

from qreg.measure.environment import capture_environment


def test_it_names_what_this_process_runs_on() -> None:
    found = capture_environment()
    assert found.torch == torch.__version__
    assert found.cpu_capability == torch.backends.cpu.get_cpu_capability()
    assert found.threads == torch.get_num_threads()
    assert found.python
    assert found.numpy


def test_limits_on_instructions_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    before = capture_environment()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    after = capture_environment()
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in after.limits
    assert before != after


def test_the_same_process_gives_the_same_fingerprint() -> None:
    assert capture_environment() == capture_environment()
