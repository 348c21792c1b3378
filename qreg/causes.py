"""How much an upgrade would change, and what that is put down to.

Only the standard library may be imported here.
"""

from __future__ import annotations

from enum import Enum


class Level(Enum):
    """What an upgrade would do; the first is the only one that needs nobody's attention."""

    SAFE = "safe: bits equal"
    DIFFERENT = "different, within noise"
    UNSAFE = "do not upgrade"

    @property
    def severity(self) -> int:
        """The higher the worse."""
        return list(Level).index(self)


class Cause(Enum):
    """What a difference of numbers is put down to."""

    NONE = ""
    OBSERVERS = "observers"
    CONVERT = "convert"
    FLOAT = "float kernels, before the observers"
    KERNELS = "kernels"
    SERIALIZATION = "serialization"
    FAILS = "it fails"
