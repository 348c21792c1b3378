"""Self-contained HTML pages from templates: everything that is given is escaped.

jinja2 is a dependency of PyTorch itself, so that pages need nothing that is not installed.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from qreg import __version__
from qreg.report import charts
from qreg.report.escape import visible

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, *, title: str, created: str, **given: Any) -> str:
    """A whole page.

    Args:
        template: the name of a file of `templates/` that extends ``base.html``.
        created: an ISO 8601 time.
        given: what the template shows; text is escaped, charts are markup.
    """
    script = (_TEMPLATES / "script.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    # charts and texts alike: what is invisible is written out
    return visible(
        pages()
        .get_template(template)
        .render(
            title=charts.short(title, 200),
            created=created,
            version=__version__,
            # ours, and the only parts that are not escaped
            style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=base64.b64encode(digest).decode(),
            **given,
        )
    )


@cache
def pages() -> Environment:
    """The templates' environment: autoescape is on for all, and unknown names are errors."""
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["short"] = charts.short
    found.filters["decibels"] = charts.decibels_text
    return found
