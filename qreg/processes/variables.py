"""The environment variables that code reads, as its sources name them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

_READ = re.compile(r"\b(?:environb?|getenvb?|expandvars)\b")
_NAMED = re.compile(
    r"""\b(?:environ(?:\.get|\.setdefault|\.pop)?\s*[\[(]|getenv\s*\()\s*["'](\w+)["']\s*[,\])]"""
)
# Of the machine, the user, Python and libraries: each machine has its own.
_OF_MACHINE = re.compile(
    r"(?:PATH|HOME|HOSTNAME|USER|USERNAME|LOGNAME|SHELL|PWD|OLDPWD|TMP|TEMP|TMPDIR|TERM|CI|VIRTUAL_ENV)$|"
    r"CONDA_|CUDA_|KMP_|LD_|MKL_|NUMBA_|NVIDIA_|OMP_|OPENBLAS_|PYTEST_|PYTHON|QREG_|RAY_|SLURM_|"
    r"SSH_|XDG_"
)


def named_variables(sources: Iterable[bytes]) -> tuple[set[str], bool]:
    """The variables that sources name, and whether one may read others, too."""
    names: set[str] = set()
    any_other = False
    for source in sources:
        text = source.decode(errors="replace")
        named = _NAMED.findall(text)
        any_other |= len(_READ.findall(text)) > len(named)
        names.update(named)
    return names, any_other


def sent_variables(sources: Iterable[Path]) -> dict[str, str | None]:
    """The variables that a project's modules name, for other machines; None for not set.

    What is the machine's is left out: paths, and what Python and libraries read.
    """
    names, _ = named_variables(path.read_bytes() for path in sources if path.suffix == ".py")
    values = {name: os.environ.get(name) for name in sorted(names) if not _OF_MACHINE.match(name)}
    return {name: value for name, value in values.items() if not _is_path(value)}


def _is_path(value: str | None) -> bool:
    return bool(value) and os.sep in str(value) and Path(str(value)).exists()
