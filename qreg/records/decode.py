"""Records to plain JSON values, and their strict decoding: a dataclass is the schema.

Anything else than what the schema says is a `MismatchError`.

Integers are counts unless annotated `Signed`; a boolean is not a number, 1 is not 1.0, and keys
must not be unknown, duplicate, or missing where their field has no default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Set
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin, get_type_hints

Decode = Callable[[Any], Any]
#: A whole number that may be negative.
Signed = Annotated[int, "signed"]
_LONGEST_SHOWN = 60
# What fits into 64 bits is counted; longer texts are no names, reasons or warnings.
_MOST, _LONGEST = 1 << 63, 1 << 20


class MismatchError(Exception):
    """An unexpected value; `key` is its path, such as ``entries[0].layers[3].sqnr_db``."""

    def __init__(self, expected: str, found: str, *, key: str = "") -> None:
        super().__init__(f"{key}: expected {expected}, found {found}")
        self.expected, self.found, self.key = expected, found, key

    def within(self, step: str) -> MismatchError:
        """The same error with the path from one level up."""
        joint = "." if self.key and not self.key.startswith("[") else ""
        return MismatchError(self.expected, self.found, key=f"{step}{joint}{self.key}")


def plain(record: Any) -> Any:
    """A record as JSON takes it, and as `decoder` of its class reads it.

    Raises:
        ValueError: it has a number that is not finite, or what no decoder reads.
    """
    if is_dataclass(record) and not isinstance(record, type):
        return {one.name: plain(getattr(record, one.name)) for one in fields(record)}
    if isinstance(record, Enum):
        return record.value
    if isinstance(record, tuple | list):
        return [plain(one) for one in record]
    if isinstance(record, dict):
        return {name: plain(one) for name, one in record.items()}
    if isinstance(record, float):
        if not math.isfinite(record):
            raise ValueError(f"{record} is not a finite number")
        return float(record)
    if record is None or isinstance(record, str | bool | int):
        return record
    raise ValueError(f"{type(record).__name__} is no part of a record")


def parse(content: bytes) -> Any:
    """Parse UTF-8 JSON without NaN, infinities or duplicate keys.

    Raises:
        MismatchError: the content is something else.
    """
    try:
        return json.loads(
            content.decode(), object_pairs_hook=_object, parse_constant=_no_such_number
        )
    except (ValueError, RecursionError) as error:
        raise MismatchError("JSON", f"{len(content)} bytes that are not ({error})") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MismatchError("every key once", f"'{twice}' twice")
    return found


def _no_such_number(name: str) -> NoReturn:
    raise MismatchError("finite numbers", name)


def shown(value: object) -> str:
    """A value for a message, truncated if long."""
    if isinstance(value, int) and abs(value) >= _MOST:
        return f"{type(value).__name__} of {value.bit_length()} bits"
    if isinstance(value, str | list | dict) and len(value) > _LONGEST:
        return f"{type(value).__name__} of {len(value)}"
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


@cache
def decoder(schema: Any) -> Decode:
    """The function that turns a JSON value into `schema`: a dataclass, or a type of its fields."""
    if is_dataclass(schema):
        return _record(schema)
    if isinstance(schema, type) and issubclass(schema, Enum):
        return _enum(schema)
    origin, arguments = get_origin(schema), get_args(schema)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return _row(tuple(map(decoder, arguments)))
    if origin is tuple:
        return _list(decoder(arguments[0]))
    if origin is dict:
        return _mapping(decoder(arguments[1]))
    if origin in (Union, UnionType):
        return _optional(decoder(arguments[0]))
    return _SCALARS[schema]


def _record(schema: Any) -> Decode:
    hints = get_type_hints(schema, include_extras=True)
    decoders = {name: decoder(hint) for name, hint in hints.items()}
    needed = {field.name for field in fields(schema) if field.default is MISSING}
    make = _maker(schema)

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise MismatchError("an object", shown(value))
        if not needed <= value.keys() <= decoders.keys():
            raise _keys_mismatch(needed, value, decoders)
        found = {}
        try:
            for name, one in value.items():
                found[name] = decoders[name](one)
        except MismatchError as error:
            raise error.within(name) from None
        try:
            return make(found)
        except ValueError as error:
            expected = f"a {schema.__name__} that agrees with itself"
            raise MismatchError(expected, str(error)) from None

    return decode


def _maker(schema: Any) -> Callable[[dict[str, Any]], Any]:
    """The function that makes a record of values by field, as ``schema(**values)`` does.

    A frozen dataclass sets each field by a call, which takes four times as long.
    """
    defaults = {f.name: f.default for f in fields(schema) if f.default is not MISSING}
    check = getattr(schema, "__post_init__", None)

    def make(values: dict[str, Any]) -> Any:
        made = object.__new__(schema)
        vars(made).update(defaults | values)
        if check:
            check(made)
        return made

    return make


def _keys_mismatch(
    needed: Set[str], value: dict[str, Any], known: Collection[str]
) -> MismatchError:
    for name in sorted(needed - value.keys()):
        return MismatchError("a value", "no such key", key=name)
    name = next(name for name in value if name not in known)
    return MismatchError(f"only {', '.join(sorted(known))}", "this key", key=name)


def _list(item: Decode) -> Decode:
    def decode(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise MismatchError("a list", shown(value))
        found: list[Any] = []
        try:
            for one in value:
                found.append(item(one))
        except MismatchError as error:
            raise error.within(f"[{len(found)}]") from None
        return tuple(found)

    return decode


def _row(items: tuple[Decode, ...]) -> Decode:
    def decode(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(items):
            raise MismatchError(f"a list of {len(items)}", shown(value))
        return tuple(item(one) for item, one in zip(items, value, strict=True))

    return decode


def _mapping(item: Decode) -> Decode:
    def decode(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise MismatchError("an object", shown(value))
        found = {}
        try:
            for name, one in value.items():
                found[name] = item(one)
        except MismatchError as error:
            raise error.within(f"['{name}']") from None
        return found

    return decode


def _optional(item: Decode) -> Decode:
    return lambda value: None if value is None else item(value)


def _enum(schema: type[Enum]) -> Decode:
    by_value = {one.value: one for one in schema}

    def decode(value: Any) -> Enum:
        if type(value) is not str or value not in by_value:
            raise MismatchError(f"one of {', '.join(by_value)}", shown(value))
        return by_value[value]

    return decode


# One function each, without a call in it where the value is right: a file has hundreds of them.
def _text(value: Any) -> str:
    if type(value) is str and len(value) <= _LONGEST:
        return value
    raise MismatchError(f"text of at most {_LONGEST}", shown(value))


def _truth(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise MismatchError("true or false", shown(value))


def _count(value: Any) -> int:
    if type(value) is int and 0 <= value < _MOST:
        return value
    raise MismatchError("a whole number, not negative", shown(value))


def _signed(value: Any) -> int:
    if type(value) is int and -_MOST <= value < _MOST:
        return value
    raise MismatchError("a whole number", shown(value))


def _float(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    raise MismatchError("a finite number with a decimal point", shown(value))


_SCALARS: dict[Any, Decode] = {
    str: _text,
    bool: _truth,
    int: _count,
    Signed: _signed,
    float: _float,
}
