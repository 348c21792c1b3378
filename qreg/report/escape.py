"""Text that is not our own, made harmless: names, reasons, warnings, messages of other code.

What a data file says reaches a terminal, a pull request or a page only through these functions.
Only the standard library may be imported here.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata

_PERHAPS = re.compile(r"[^\n\t -~]")
# Characters with a meaning inside a line of Markdown, and of formulas on GitHub; an underscore has
# none inside a word.
_SIGNS = re.compile(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))")
# What notifies a person or links to an issue, unless something invisible follows it.
_CALLS = re.compile(r"(?<!\w)(@(?=\w)|#(?=\d))")
_NOTHING = "&#8203;"
# What begins a heading, a list or a rule at the start of a line.
_STARTS = re.compile(r"(?m)^(\s*)([-=+#]+(?=\s|$)|#)")
_NUMBERED = re.compile(r"(?m)^(\s*\d+)([.)])(?=\s)")


def visible(text: str) -> str:
    r"""The text with everything invisible written out: ``\x1b``, ``\u202e``.

    Control characters (a terminal's escape sequences start with one), characters that turn the
    direction of writing, and halves of surrogate pairs, which cannot be encoded.
    """
    if text.isprintable():
        return text
    return _PERHAPS.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    sign = match[0]
    if sign.isprintable() or unicodedata.category(sign) == "Zs":
        return sign
    number = ord(sign)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def markdown(text: str) -> str:
    """The text as Markdown that shows just this: no image, link, markup, mention or heading."""
    escaped = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = _SIGNS.sub(r"\\\1", escaped)
    escaped = _NUMBERED.sub(r"\1\\\2", _STARTS.sub(r"\1\\\2", escaped))
    return _CALLS.sub(rf"\1{_NOTHING}", escaped)


def html(text: str) -> str:
    """The text as HTML that shows just this, in an element or a quoted attribute."""
    return _html.escape(visible(text), quote=True)


def plot(text: str) -> str:
    """The text as matplotlib shows it literally: it reads ``$...$`` as a formula."""
    return visible(text).replace("$", r"\$")
