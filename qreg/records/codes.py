"""Whole numbers, one for each sample: a byte each where they fit, as most classes do.

Only the standard library may be imported here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class Codes(Sequence[int]):
    """An immutable sequence of whole numbers, equal to a tuple of the same.

    Ten thousand as a tuple are 80 KB, which are turned into an array number by number; as `bytes`
    they are one already.
    """

    __slots__ = ("_codes",)

    def __init__(self, codes: Iterable[int] = ()) -> None:
        """Keep `codes`; of `bytes` each is one."""
        if not isinstance(codes, bytes):
            codes = tuple(codes)
            with contextlib.suppress(ValueError):  # below 0, or above 255
                codes = bytes(codes)
        self._codes: bytes | tuple[int, ...] = codes

    def __bytes__(self) -> bytes:
        """One byte each.

        Raises:
            ValueError: one does not fit.
        """
        return bytes(self._codes)

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> Codes: ...
    def __getitem__(self, at: int | slice) -> int | Codes:
        return Codes(self._codes[at]) if isinstance(at, slice) else self._codes[at]

    def __iter__(self) -> Iterator[int]:
        return iter(self._codes)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Codes):
            return self._codes == other._codes
        return tuple(self._codes) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._codes))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({tuple(self._codes)})"


def as_codes(numbers: Sequence[int]) -> Codes:
    """The same numbers as `Codes`."""
    return numbers if isinstance(numbers, Codes) else Codes(numbers)
