"""Exported programs: what is read from them, and that nothing in them is executed."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from qreg.artifacts.load import file_of, load_file
from qreg.artifacts.program import load_program, tensors_only
from qreg.errors import ModelFileError
from qreg.metrics.layers import layer_numerics
from qreg.metrics.size import model_size
from qreg.quantization.needs import logging_silenced
from tests.unit.artifacts.files import IMAGES, export_program, net


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_program(net(), tmp_path_factory.mktemp("program") / "net.pt2")


def test_it_computes_what_the_model_does(program: Path) -> None:
    loaded = load_program(program, name="net.pt2").eval()
    for count in (1, 4):
        assert torch.equal(loaded(IMAGES[:count]), net()(IMAGES[:count]))


def test_its_layers_are_those_of_the_model(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qreg.artifacts.names._roots", [program.parent])
    loaded = load_file("file:net.pt2")
    layers = layer_numerics(loaded, loaded, net(), IMAGES)
    by_name = {layer.name: layer for layer in layers}
    assert {"features.0", "features.4", "head"} <= by_name.keys()
    found = by_name["head"].sqnr_db  # BatchNorm is folded in the model, not in the program
    assert found is not None
    assert found > 120
    facts = file_of(loaded)
    assert facts is not None
    assert model_size(loaded).file_bytes == facts.total_bytes == program.stat().st_size


class _Executed:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _execute, ("executed",)


EXECUTED: list[str] = []


def _execute(what: str) -> None:
    EXECUTED.append(what)


def _with_member(program: Path, target: Path, part: str, content: bytes) -> Path:
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(target, "w") as changed:
        for name in source.namelist():
            changed.writestr(name, content if part in name else source.read(name))
    return target


def test_pickled_objects_are_refused_and_not_executed(program: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save((_Executed(),), buffer)
    hostile = _with_member(program, tmp_path / "net.pt2", "sample_inputs", buffer.getvalue())
    with pytest.raises(ModelFileError, match="pickled objects that are no tensors") as raised:
        load_program(hostile, name="net.pt2")
    assert "\n" not in str(raised.value)
    assert not EXECUTED
    with warnings.catch_warnings(), logging_silenced():
        warnings.simplefilter("ignore")
        torch.export.load(hostile)  # what PyTorch itself does with it
    assert EXECUTED


def test_nothing_is_unpickled_while_a_program_is_loaded() -> None:
    with tensors_only():
        for read in (pickle.loads, torch.load):
            with pytest.raises(Exception, match=r"no tensors|weights_only|Weights only"):
                read(io.BytesIO(pickle.dumps(_Executed())) if read is torch.load else b"x")
    assert pickle.loads(pickle.dumps(1)) == 1


def test_machine_code_is_not_loaded(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(program.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("net/data/aotinductor/model/model.so", b"code")
    with pytest.raises(ModelFileError, match="machine code"):
        load_program(path, name="net.pt2")


@pytest.mark.parametrize("content", [b"", b"no archive" * 50, None], ids=["empty", "text", "cut"])
def test_what_is_no_program_is_one_line(
    content: bytes | None, program: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(program.read_bytes()[:2000] if content is None else content)
    with pytest.raises(ModelFileError, match=r"no exported program, or cut off") as raised:
        load_program(path, name="net.pt2")
    assert "\n" not in str(raised.value)


def test_a_fixed_batch_size_is_said_with_what_to_do(tmp_path: Path) -> None:
    path = export_program(net(), tmp_path / "net.pt2", batches=False)
    with pytest.raises(ModelFileError, match="batches of 2 only") as raised:
        load_program(path, name="net.pt2")
    assert "dynamic_shapes" in raised.value.hint
