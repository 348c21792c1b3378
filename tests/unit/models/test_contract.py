"""What is refused of a user's model before anything runs."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn.quantized import FloatFunctional

from qreg.errors import ContractError
from qreg.models import build_model
from qreg.models.contract import refuse_quantized


def _float() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.LSTM(4, 4), FloatFunctional())


def _dynamic() -> nn.Module:
    return ao.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})


def _static() -> nn.Module:
    model = nn.Sequential(ao.QuantStub(), nn.Linear(4, 4), ao.DeQuantStub()).eval()
    model.qconfig = ao.get_default_qconfig("x86")  # type: ignore[assignment]
    prepared = ao.prepare(model)
    prepared(torch.ones(1, 4))
    return ao.convert(prepared)


def _prepared() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4)).train()
    model.qconfig = ao.get_default_qat_qconfig("x86")  # type: ignore[assignment]
    return ao.prepare_qat(model)


def _torchao() -> nn.Module:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = nn.Sequential(nn.Linear(4, 4))
    quantize_(model, Int8WeightOnlyConfig())
    return model


def test_a_float_model_is_taken() -> None:
    refuse_quantized(_float(), name="mine")


@pytest.mark.parametrize(
    "factory", [_dynamic, _static, _prepared, pytest.param(_torchao, marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_is_quantized_already_is_refused(
    factory: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    if factory is _torchao:
        pytest.importorskip("torchao")
    monkeypatch.setitem(sys.modules, "user_nets", sys.modules[__name__])
    name = f"user_nets:{factory.__name__}"  # type: ignore[attr-defined]
    with pytest.raises(ContractError, match="quantized already") as caught:
        build_model(name)
    assert "float model" in caught.value.hint
