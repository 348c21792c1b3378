"""Names of files as models and methods, and the files of their baselines."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.artifacts.names import (
    FileFormat,
    file_format,
    file_method_info,
    find_file,
    is_file_name,
    search_in,
)
from qreg.baselines.folder import case_file
from qreg.errors import MissingFileError, QregError
from qreg.models import MODELS
from qreg.quantization import METHODS, method_info
from qreg.records.case import Case


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("file:net.onnx", True),
        ("float-file:exports/net.onnx", True),
        ("file:../a b/net.pt2", True),
        ("file:", False),
        ("files:net.onnx", False),
        ("file:net@2.onnx", False),
        ("nets:net", False),
    ],
)
def test_what_stands_for_a_file(name: str, expected: bool) -> None:
    assert is_file_name(name) is expected
    assert METHODS.knows(name) is (expected or name == "nets:net")


def test_a_file_is_a_model_but_no_float_file_by_prefix() -> None:
    assert MODELS.knows("file:exports/net.onnx")
    assert not MODELS.knows("float-file:exports/net.onnx")


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (".onnx", FileFormat.ONNX),
        (".ONNX", FileFormat.ONNX),
        (".pt2", FileFormat.PROGRAM),
        (".pt", FileFormat.TORCHSCRIPT),
        (".torchscript", FileFormat.TORCHSCRIPT),
    ],
)
def test_the_ending_says_the_format(ending: str, expected: FileFormat) -> None:
    assert file_format(f"file:net{ending}") is expected


def test_another_ending_is_refused_with_the_known_ones() -> None:
    with pytest.raises(QregError, match=r"'\.pkl' is no format") as raised:
        file_format("file:net.pkl")
    assert ".onnx" in raised.value.hint


def test_the_facts_are_known_without_reading_the_file() -> None:
    info = method_info("file:no/such.onnx")
    assert (info.engines, info.quantizes) == (("onnxruntime",), True)
    assert not method_info("float-file:no/such.onnx").quantizes
    assert file_method_info("file:no/such.pt2").engines == ()


def test_paths_start_from_the_project_then_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qreg.artifacts.names._roots", [])
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    (inner / "net.onnx").write_text("here")
    assert find_file("file:net.onnx") == inner / "net.onnx"
    search_in(tmp_path)
    assert find_file("file:net.onnx") == inner / "net.onnx"
    (tmp_path / "net.onnx").write_text("root")
    assert find_file("file:net.onnx") == tmp_path / "net.onnx"
    with pytest.raises(MissingFileError, match=r"no file other\.onnx in"):
        find_file("file:other.onnx")


def _file(method: str, model: str = "net") -> str:
    return case_file(Case("photos", model, method, "onnxruntime")).as_posix()


def test_a_path_is_one_part_of_a_baselines_name() -> None:
    assert _file("file:net_int8.onnx") == "photos/net/file.net_int8.onnx@onnxruntime.json"
    assert _file("file:exports/net.onnx") == "photos/net/file.exports%2Fnet.onnx@onnxruntime.json"
    assert _file("fp32", "file:a/net.onnx") == "photos/file.a%2Fnet.onnx/fp32@onnxruntime.json"


def test_files_of_one_name_in_two_folders_do_not_collide() -> None:
    names = ["a/net.onnx", "b/net.onnx", "a.net.onnx", "a%2Fnet.onnx", "a:net.onnx", "../net.onnx"]
    assert len({_file(f"file:{name}") for name in names}) == len(names)
    long = ["x" * 300 + f"/{n}.onnx" for n in range(2)]
    found = {Path(_file(f"file:{name}")).name for name in long}
    assert len(found) == 2
    assert max(map(len, found)) < 200


@pytest.mark.parametrize(
    "case",
    [
        Case("photos", "net", "file:exports/net.onnx", "onnxruntime"),
        Case("photos", "file:v1.2/net.onnx", "file:v1.2/int8/net.onnx", "onnxruntime"),
        Case("photos", "file:net.onnx", "ort-static", "onnxruntime"),
        Case("photos", "file:net.onnx", "float-file:net.onnx", "onnxruntime"),
        Case("photos", "nets:net", "static", "x86"),
    ],
    ids=str,
)
def test_a_cases_name_is_read_back(case: Case) -> None:
    assert Case.parse(str(case)) == case
