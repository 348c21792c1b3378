"""The releases of a package between two versions, as its index has them for this interpreter."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable

from packaging.version import InvalidVersion, Version

from qreg.errors import QregError
from qreg.processes.child import following

_AVAILABLE = "Available versions:"
_PATIENCE_S = 120


def releases(package: str) -> tuple[str, ...]:
    """All versions of a package that pip finds for this interpreter, pre-releases too.

    Raises:
        QregError: pip finds none, or is not there.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", package, "--pre"]
    quiet = ["--disable-pip-version-check", "--no-input"]
    try:
        ran = subprocess.run(
            following([*command, *quiet]),
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )
        said, errors = ran.stdout, ran.stderr.strip().splitlines()
    except subprocess.TimeoutExpired:
        said, errors = "", [f"no answer within {_PATIENCE_S} s"]
    for line in said.splitlines():
        if line.startswith(_AVAILABLE):
            return tuple(re.split(r"[,\s]+", line.removeprefix(_AVAILABLE).strip()))
    reason = next((one for one in errors if one.startswith("ERROR")), errors[-1] if errors else "")
    raise QregError(
        f"the releases of {package} cannot be listed: {reason.removeprefix('ERROR: ') or 'none'}",
        hint="check the network, or name those to try: --releases 2.10.0,2.11.0",
    )


def between(first: str, last: str, known: Iterable[str]) -> tuple[str, ...]:
    """The releases strictly between two versions, in the direction from `first` to `last`.

    Post-releases are releases; pre-releases count where one of the two is one. Of builds of one
    version, such as 2.13.0 and 2.13.0+cpu, only the plain one counts.
    """
    ends = (_version(first), _version(last))
    if None in ends:
        return ()
    low, high = sorted(one for one in ends if one is not None)
    early = low.is_prerelease or high.is_prerelease
    found: dict[Version, str] = {}
    for text in known:
        version = _version(text)
        if version is not None and low < version < high and (early or not version.is_prerelease):
            found.setdefault(version, text.partition("+")[0])
    ordered = sorted(found, reverse=ends[0] != low)
    return tuple(found[one] for one in ordered)


def _version(text: str) -> Version | None:
    """Without the local part, which says how it was built."""
    try:
        return Version(Version(text).public)
    except InvalidVersion:
        return None
