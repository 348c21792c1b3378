"""Names of methods that do not quantize some layers: ``static-keep:conv1+fc3``.

The layers are in float, or at 16 bits: ``static-keep-bfloat16:conv1+fc3``.

Only the standard library and the records may be imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from qreg.records.method import Form

_SHORT = "|".join(form.value for form in Form if form is not Form.FLOAT32)
_NAME = re.compile(
    rf"(?P<method>.+?)-keep(?:-(?P<form>{_SHORT}))?:(?P<layers>[\w.-]+(?:[+,][\w.-]+)*)"
)


class Keeping(NamedTuple):
    """A method, the layers that it does not quantize, and their form."""

    method: str
    layers: tuple[str, ...]
    form: Form = Form.FLOAT32


def kept_layers(name: str) -> Keeping | None:
    """The method and the layers that a name says; None for a name that says no layers."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    layers = tuple(dict.fromkeys(re.split("[+,]", found["layers"])))
    return Keeping(found["method"], layers, Form(found["form"] or Form.FLOAT32.value))


def keeping_name(method: str, layers: Iterable[str], form: Form = Form.FLOAT32) -> str:
    """The name of the method with these layers not quantized; of `method` itself without any.

    The layers are separated by ``+``, because commas separate names on command lines.
    """
    chosen = "+".join(layers)
    keep = "keep" if form is Form.FLOAT32 else f"keep-{form.value}"
    return f"{method}-{keep}:{chosen}" if chosen else method


def canonical(name: str) -> str:
    """The same name, with ``+`` for the ``,`` that a table in TOML may have."""
    found = kept_layers(name)
    return name if found is None else keeping_name(*found)
