"""Errors, each with a hint what to do.

Only the standard library may be imported here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 2000


class QregError(Exception):
    """An error the user can act on: ``str(error)`` is one line, ``hint`` says what to do.

    Args:
        details: the traceback of code outside qreg, shown on request.
    """

    def __init__(self, message: str, *, hint: str = "", details: str = "") -> None:
        super().__init__(_short(message))
        self.hint, self.details = _short(hint), details


def _short(text: str) -> str:
    """The beginning of a text that quotes more of a file than anybody reads."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


class UnknownNameError(QregError):
    """A model, dataset, method or engine that is not registered."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        known = sorted(choices)
        self.kind = kind
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        nearest = f"did you mean '{near[0]}'? " if near else ""
        super().__init__(
            f"unknown {kind} '{name}'", hint=f"{nearest}choices: {', '.join(known) or 'none'}"
        )


class ContractError(QregError):
    """A user's factory, dataset or method does not keep the documented contract."""


class DataError(QregError):
    """A dataset is missing or invalid."""


class LabelRangeError(DataError):
    """A label that is no output of the model: the data, or which labels count, is the matter."""


class MissingDataError(DataError):
    """A dataset is not on this machine."""


class MissingFileError(QregError):
    """A model's file is not there."""


class ModelFileError(QregError):
    """A model's file cannot be read, or cannot be run on these inputs."""


class CorruptFileError(QregError):
    """A file's content is not the expected content; the file is left unchanged."""

    def __init__(self, path: object, *, expected: str, found: str, hint: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}", hint=hint)


class ChangedMeanwhileError(QregError):
    """Another process has written what this one was about to replace."""


class CheckpointError(QregError):
    """A checkpoint is missing or does not fit its model."""


class OtherWeightsError(CheckpointError):
    """A checkpoint was trained from other weights than those of the model."""


class MissingCheckpointError(CheckpointError):
    """No checkpoint of that kind was found."""


class UnavailableError(QregError):
    """This machine or this PyTorch lacks what the case needs, an engine for example.

    Args:
        lacks: the package that is missing, where it is one.
    """

    lacks = ""

    @classmethod
    def of_package(cls, package: str, error: BaseException) -> UnavailableError:
        """The error where a package of PyTorch's surroundings cannot be imported."""
        text = str(error).strip().partition("\n")[0]
        found = cls(
            f"{package} cannot be imported: {text}",
            hint=f"install the {package} that fits this PyTorch",
        )
        found.lacks = package
        return found
