"""Cases, environments and failures: frozen records of tuples, checked on construction.

Only the standard library may be imported here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from urllib.parse import quote

from qreg.errors import QregError

# names that stand for model files, see `qreg.artifacts.names`
_OF_FILES = ("file:", "float-file:")
_LONGEST_PART = 120  # a file system allows 255 bytes, and a temporary file's name is longer


def file_part(name: str) -> str:
    """A case's name as part of a file name: ``nets.net`` for ``nets:net``.

    The path of a model's file keeps its folders, encoded as in a URL: files of one name in two
    folders are different cases. A longer name than a file can have ends in a digest.
    """
    part = name.replace(":", ".", 1 if name.startswith(_OF_FILES) else -1)
    part = quote(part, safe=" +=~,()") if name.startswith(_OF_FILES) else part
    if len(part) <= _LONGEST_PART:
        return part
    return f"{part[:_LONGEST_PART]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


# the method's name ends at the last @: engines have none; the names of files have folders
_FILE = r"(?:float-)?file:.+"
_NAME = re.compile(
    rf"(?P<dataset>[^/]+)/(?P<model>{_FILE}?|[^/]+)/(?P<method>{_FILE}|[^/]+)@(?P<engine>[^/@]+)"
)


@dataclass(frozen=True, order=True)
class Case:
    """The unit of measuring, storing and judging."""

    dataset: str
    model: str
    method: str
    engine: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.model}/{self.method}@{self.engine}"

    @classmethod
    def parse(cls, name: str) -> Case:
        """The case of that name, ``dataset/model/method@engine``.

        Raises:
            QregError: it is not such a name.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise QregError(
                f"'{name}' is not a case",
                hint="a case is dataset/model/method@engine: shapes10/simple_cnn/static@x86",
            )
        return cls(**found.groupdict())


_NO_TEXT = ("vnni", "threads", "limits")
# Of what describes a machine; no machine has so many.
_LONGEST, _MOST_THREADS = 500, 1 << 20


@dataclass(frozen=True)
class Environment:
    """Everything about a machine and its software that can change numbers.

    Attributes:
        cpu_capability: the vector instructions PyTorch's eager kernels use.
        vnni: whether the CPU adds int8 products without intermediate saturation.
        limits: environment variables, ``NAME=value``, that keep kernels from using instructions.
        onnxruntime: its version, where it runs the case, as the following two; else "".
        provider: its execution provider.
        graph_level: its level of graph optimization.
    """

    torch: str
    torchvision: str
    torchao: str
    python: str
    numpy: str
    system: str
    arch: str
    cpu: str
    cpu_capability: str
    vnni: bool
    threads: int
    limits: tuple[str, ...] = ()
    onnxruntime: str = ""
    provider: str = ""
    graph_level: str = ""

    def __post_init__(self) -> None:
        texts = [getattr(self, one.name) for one in fields(self) if one.name not in _NO_TEXT]
        long = [text for text in (*texts, *self.limits) if len(text) > _LONGEST]
        if long or self.threads > _MOST_THREADS:
            raise ValueError(f"{self.threads} threads, or a version of {_LONGEST} characters")


@dataclass(frozen=True)
class Failure:
    """A case that could not be measured.

    Attributes:
        unavailable: the machine lacks something; otherwise code raised.
        details: the traceback, where code raised.
        where: the layer and the line of its author's code, "" where they are not known.
        operator: what that line asked for, "" where no operator is to blame.
        lacks: the package that is not installed or does not fit this PyTorch, "" where it is not
            for that.
    """

    case: Case
    reason: str
    hint: str
    unavailable: bool
    details: str = ""
    where: str = ""
    operator: str = ""
    lacks: str = ""

    @property
    def text(self) -> str:
        """Layer and line where they are known, and the reason, in one line."""
        return f"{self.where}: {self.reason}" if self.where else self.reason
