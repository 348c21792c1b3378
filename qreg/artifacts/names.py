"""Names of files as models and methods: ``file:exports/net_int8.onnx``.

Only the standard library may be imported here.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

from qreg.errors import MissingFileError, QregError
from qreg.records.method import MethodInfo

#: A quantized file: one in which nothing is quantized is REGRESSED.
FILE = "file"
#: A float file, such as the export of the float model, as a method.
FLOAT_FILE = "float-file"
#: The engine of ONNX files.
ONNXRUNTIME = "onnxruntime"
#: What may follow the prefix.
FILE_PATH = re.compile(r"[^@,\s][^@,]*")
_NAME = re.compile(rf"(?P<prefix>{FILE}|{FLOAT_FILE}):(?P<path>{FILE_PATH.pattern})")


class FileFormat(Enum):
    """What a file is, by the ending of its name."""

    ONNX = "ONNX"
    PROGRAM = "exported program"
    TORCHSCRIPT = "TorchScript"


_FORMATS = {
    ".onnx": FileFormat.ONNX,
    ".pt2": FileFormat.PROGRAM,
    ".pt": FileFormat.TORCHSCRIPT,
    ".pth": FileFormat.TORCHSCRIPT,
    ".ts": FileFormat.TORCHSCRIPT,
    ".jit": FileFormat.TORCHSCRIPT,
    ".torchscript": FileFormat.TORCHSCRIPT,
}
# Where relative paths start, the project's root first; see `search_in`.
_roots: list[Path] = []


def is_file_name(name: str) -> bool:
    """Whether a model's or method's name stands for a file."""
    return _NAME.fullmatch(name) is not None


def file_format(name: str) -> FileFormat:
    """The format of the file that a name stands for.

    Raises:
        QregError: the ending of its name is not known.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in _FORMATS:
        raise QregError(
            f"'{name}': '{suffix}' is no format of a model's file",
            hint=f"from {', '.join(_FORMATS)}; a state dict is no model: give its factory and "
            "method, and the file as weights",
        )
    return _FORMATS[suffix]


def search_in(root: Path) -> None:
    """Let relative paths start from a project's root, then from the current folder."""
    _roots[:] = [root.resolve()]


def find_file(name: str) -> Path:
    """The file that a name stands for.

    Raises:
        MissingFileError: there is none.
        QregError: the ending of its name is not known.
    """
    found = _NAME.fullmatch(name)
    assert found, name
    file_format(name)
    path = Path(found["path"]).expanduser()
    looked = [root / path for root in dict.fromkeys((*_roots, Path.cwd()))]
    for one in looked:
        if one.is_file():
            return one
    folders = ", ".join(str(one.parent) for one in dict.fromkeys(looked))
    raise MissingFileError(
        f"no file {path.name} in {folders}",
        hint="paths start from the folder of pyproject.toml, else from the current folder",
    )


def file_method_info(name: str) -> MethodInfo:
    """The facts of a file as a method; the file is not read."""
    onnx = Path(name).suffix.lower() == ".onnx"
    return MethodInfo(
        name,
        float_only=name.startswith(f"{FLOAT_FILE}:"),
        engines=(ONNXRUNTIME,) if onnx else (),
        takes_file=True,
        operators_by_cpu=onnx,  # onnxruntime chooses layouts by the CPU
    )
