"""Text of others in every output: what it could do there, and that it does not."""

from __future__ import annotations

import ast
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import qreg.cli
from qreg.cli import terminal
from qreg.report.escape import html, markdown, plot, visible

HOSTILE = (
    "closes [/issue]",
    "[wip] [#123] :smile:",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://bad.example\x07here\x1b]8;;\x07",
    "abc\u202edcb\u202c",
    "\ud800",
    "a\rb\x08\x9b2J",
    "![](http://bad.example/x.png)",
    "@everyone",
    "<script>alert(1)</script>",
    "a | b",
    "$\\frac{1}{",
)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))


@pytest.mark.slow
@given(TEXTS)
def test_a_terminal_is_given_no_control_character(text: str) -> None:
    shown = visible(text)
    assert all(sign in "\n\t" or sign.isprintable() or sign.isspace() for sign in shown)
    shown.encode()
    assert visible(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", ["cell", "title", "header", "line", "text"])
def test_a_table_shows_it_as_it_is(text: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stdout", written)
    table = Table(title=text if kind == "title" else "", min_width=90)
    table.add_column(text if kind == "header" else "", no_wrap=True)
    table.add_row(text if kind == "cell" else "")
    shown = {"line": text, "text": Text(text)}.get(kind, table)
    terminal.console(width=100).print(shown, highlight=False)
    said = written.getvalue()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", said)
    if text.isprintable():
        assert text in said


def test_what_is_said_is_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say("\x1b[2J", error=True)
    terminal.say("[wip]")
    assert capsys.readouterr() == ("[wip]\n", "\\x1b[2J\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![](http://x/y.png)", "!\\[\\](http://x/y.png)"),
        ("@everyone, shapes10/cnn/static@x86", "@&#8203;everyone, shapes10/cnn/static@x86"),
        ("closes #12", "closes #&#8203;12"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("a | b", "a \\| b"),
        ("# heading", "\\# heading"),
        ("1. item", "1\\. item"),
        ("--- rule", "\\--- rule"),
        ("-0.5 % of simple_cnn", "-0.5 % of simple_cnn"),
        ("_soft_ *loud* `code`", "\\_soft\\_ \\*loud\\* \\`code\\`"),
        ("\x1b[31m", "\\\\x1b\\[31m"),
    ],
)
def test_markdown_shows_just_the_text(text: str, shown: str) -> None:
    assert markdown(text) == shown


@pytest.mark.slow
@given(TEXTS)
def test_html_has_no_element_but_the_text(text: str) -> None:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            found.append(f"<{tag}>")

        def handle_data(self, data: str) -> None:
            found.append(data)

    reader = Reader()
    reader.feed(html(text))
    reader.close()
    assert "".join(found) == visible(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_plot_is_drawn(text: str) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.text(0.1, 0.5, plot(text))
    figure.savefig(io.BytesIO(), format="png")


def test_commands_print_nothing_past_it() -> None:
    """A bare print in the command line would show a stranger's text as it is."""
    folder = Path(qreg.cli.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id in ("print", "Console")), path
