"""``[tool.qreg.budget]`` and ``[tool.qreg.known-failures]``: from values to records."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from qreg.errors import QregError, UnknownNameError
from qreg.records.budget import Against, Budget, KnownFailure, Limits, pattern_matches
from qreg.records.case import Case

_KEYS = ("max-drop", "against", "max-size", "min-speed-up", "max-flips")
_EXAMPLES = {
    "max-drop": "max-drop = 0.5 (percentage points, or the unit of the task's summary)",
    "against": 'against = "fp32" or "control"',
    "max-size": 'max-size = 0.7 (MB of the saved state dict) or "30 %" (of fp32\'s)',
    "min-speed-up": "min-speed-up = 1.5 (times as fast as fp32 at batch size 1)",
    "max-flips": 'max-flips = 20 (of the judged samples) or "2 %"',
}
_KNOWN_HINT = '"cifar10/net/static@*" = { reason = "issue 12", expires = 2027-01-31 }'


def read_budget(value: object, where: str) -> Budget:
    """The budget that a table says; `where` is named in errors.

    Raises:
        QregError: an unknown key, an impossible value, or a table without a limit.
    """
    if not isinstance(value, dict):
        raise QregError(f"{where} = {value!r}", hint="give a table: max-drop = 0.5")
    own = {key: one for key, one in value.items() if not isinstance(one, dict)}
    tables = {key: one for key, one in value.items() if isinstance(one, dict)}
    patterns = tuple((name, _limits(one, f'{where}."{name}"')) for name, one in tables.items())
    budget = Budget(_limits(own, where) if own else Limits(), patterns)
    for name, limits in patterns:
        if not limits:
            raise QregError(f'{where}."{name}" limits nothing', hint=_EXAMPLES["max-drop"])
    if not budget:
        raise QregError(f"{where} limits nothing", hint=_EXAMPLES["max-drop"])
    return budget


def read_limits(text: str) -> Budget:
    """The budget of a command line: ``max-drop=0.5,max-flips=2 %``.

    Raises:
        QregError: as `read_budget`.
    """
    table: dict[str, object] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise QregError(f"--budget {part.strip()}", hint="give LIMIT=VALUE: max-drop=0.5")
        table[key] = _literal(value)
    return read_budget(table, "--budget")


def _literal(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _limits(table: dict[str, Any], where: str) -> Limits:
    for key in table:
        if key not in _KEYS:
            raise UnknownNameError(f"key of {where}", key, _KEYS)
    given: dict[str, Any] = {}
    for key, value in table.items():
        try:
            given.update(_limit(key, value))
            Limits(**given)
        except ValueError as error:
            reason = f": {error}" if str(error) else ""
            raise QregError(f"{where} {key} = {value!r}{reason}", hint=_EXAMPLES[key]) from error
    return Limits(**given)


def _limit(key: str, value: object) -> dict[str, Any]:
    name = key.replace("-", "_")
    if key == "against":
        return {name: Against(value)} if isinstance(value, str) else _refused()
    if key in ("max-size", "max-flips") and isinstance(value, str):
        if not value.strip().endswith("%"):
            _refused()
        return {f"{name}_share": float(value.strip().removesuffix("%")) / 100}
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refused()
    if key == "max-flips":
        if not isinstance(value, int):
            _refused()
        return {name: value}
    return {name: float(value)}  # type: ignore[arg-type]


def _refused() -> Any:
    raise ValueError


def read_known_failures(value: object, where: str) -> tuple[KnownFailure, ...]:
    """The known failures that a table says: a pattern each, with reason and expiry date.

    Raises:
        QregError: a key is missing or unknown, or the date is none.
    """
    if not isinstance(value, dict):
        raise QregError(f"{where} = {value!r}", hint=f"give {_KNOWN_HINT}")
    return tuple(_known(pattern, one, f'{where} "{pattern}"') for pattern, one in value.items())


def _known(pattern: str, value: object, where: str) -> KnownFailure:
    if not isinstance(value, dict) or set(value) != {"reason", "expires"}:
        raise QregError(f"{where}: it has reason and expires", hint=f"give {_KNOWN_HINT}")
    reason, expires = value["reason"], value["expires"]
    if isinstance(expires, datetime.date) and not isinstance(expires, datetime.datetime):
        expires = expires.isoformat()
    try:
        if not isinstance(reason, str) or not isinstance(expires, str):
            raise ValueError("reason is text, and expires a date")
        return KnownFailure(pattern, reason, expires)
    except ValueError as error:
        raise QregError(f"{where}: {error}", hint=f"give {_KNOWN_HINT}") from error


def check_patterns(patterns: Iterable[str], cases: Sequence[Case], where: str) -> None:
    """Refuse a pattern that fits none of the cases.

    Raises:
        QregError: with the pattern.
    """
    for pattern in patterns:
        if not any(pattern_matches(pattern, case) for case in cases):
            methods = ", ".join(dict.fromkeys(case.method for case in cases))
            raise QregError(
                f'{where} "{pattern}" matches no case of the project',
                hint="a pattern is of methods ('static*', 'qat@x86') or of cases "
                f"('cifar10/*/static@*'); methods: {methods}",
            )
