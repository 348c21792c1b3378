from __future__ import annotations

import pytest
import torch

from qreg.errors import UnavailableError, UnknownNameError
from qreg.quantization.engines import available_engines, check_engine, default_engine, use_engine


def test_the_engine_is_set_and_put_back() -> None:
    before = torch.backends.quantized.engine
    for name in available_engines():
        with use_engine(name):
            assert torch.backends.quantized.engine == name
        assert torch.backends.quantized.engine == before


def test_the_default_is_available() -> None:
    assert default_engine() in available_engines()


def test_an_engine_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qreg.quantization.engines.available_engines", lambda: ("x86",))
    with pytest.raises(UnavailableError) as caught, use_engine("qnnpack"):
        raise AssertionError("not reached")
    assert caught.value.hint.endswith(": x86")


def test_an_unknown_engine() -> None:
    with pytest.raises(UnknownNameError) as caught:
        check_engine("fbgem")
    assert "did you mean 'fbgemm'" in caught.value.hint
