"""TorchScript files: layers and weights out of an inlined graph."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from qreg.artifacts.load import file_of, load_file
from qreg.artifacts.torchscript import load_script
from qreg.errors import ModelFileError
from qreg.metrics.layers import layer_numerics
from qreg.metrics.size import model_size
from qreg.models.stubs import with_stubs
from qreg.quantization import Context, get_method
from qreg.quantization.engines import available_engines, use_engine
from tests.unit.artifacts.files import IMAGES, net

pytestmark = pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network, quantized statically and traced."""
    path = tmp_path_factory.mktemp("script") / "net_int8.pt"
    context = Context("x86", lambda: iter([IMAGES]), IMAGES)
    # with gradients, as a user traces it: biases that are packed then require them
    with use_engine("x86"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = get_method("dynamic").quantize(with_stubs(net()).eval(), context)
        torch.jit.save(torch.jit.trace(made.eval(), IMAGES), path)
    return path


def test_its_layers_have_the_models_names_and_codes(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qreg.artifacts.names._roots", [script.parent])
    loaded = load_file("file:net_int8.pt")
    with use_engine("x86"):
        layers = layer_numerics(loaded, loaded, with_stubs(net()).eval(), IMAGES)
    by_name = {layer.name: layer for layer in layers}
    head = by_name["model.head"]
    assert head.kind == "quantized.linear_dynamic"
    assert head.bias_digest
    assert head.weight is not None
    assert head.weight.dtype == "qint8"
    assert head.sqnr_db is not None
    assert 20 < head.sqnr_db < 60
    assert by_name["model.features.4"].weight is None
    size, facts = model_size(loaded), file_of(loaded)
    assert facts is not None
    assert size.file_bytes == facts.total_bytes == script.stat().st_size
    assert size.float_layers == ("model.features.0", "model.features.4")
    assert sum(t.bytes for t in size.tensors if t.layer == "model.head") > 4 * 128


def test_a_state_dict_or_a_pickle_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    for saved in (net().state_dict(), net()):
        torch.save(saved, path)
        with pytest.raises(ModelFileError, match="cannot be loaded as TorchScript") as raised:
            load_script(path, name="net.pt")
        assert "weights" in raised.value.hint
