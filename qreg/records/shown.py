"""What notebooks show of records: said by path, imported when it is asked for.

Only the standard library may be imported here.
"""

from __future__ import annotations

import importlib
from typing import Any


class Shown:
    """A record that a notebook shows as HTML, by the function that `_html` names."""

    # no annotations: they would be fields of the records
    _html = ""

    def _repr_html_(self) -> str:
        module, _, name = self._html.partition(":")
        function: Any = getattr(importlib.import_module(module), name)
        return str(function(self))
