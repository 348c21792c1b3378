"""Changes to a file, as data that hypothesis makes: of its bytes, its JSON, its nature."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

_RAW = "@@raw:"
#: Values in the place of others; those that JSON has no value for are written as they stand.
WEIRD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 1 << 31, 1 << 63, -(1 << 64), 10**400,
    0.0, -0.0, 0.5, 1.0, 1e308, -1e308, 5e-324,
    "", " ", "x", "0", "x" * 5000, "\x1b[31m\u202e\x00", "\ud800", "[/red]", "../../etc/passwd",
    "/dev/zero", "os:abort", "nan", "a\nb", "$x$",
    [], [0], [[]], [[[]]], {}, {"x": 0}, [None] * 50, ["x", 1, None],
    f"{_RAW}NaN", f"{_RAW}Infinity", f"{_RAW}-Infinity", f"{_RAW}1e999", f"{_RAW}{'9' * 5000}",
    f"{_RAW}{'[' * 2000}{']' * 2000}", f'{_RAW}{{"a": 1, "a": 2}}',
    f'{_RAW}"{"y" * 2_000_000}"',
)  # fmt: skip
NATURES = (
    "empty", "pipe", "folder", "zeros for ever", "sparse, 20 GB", "gone", "link to nothing",
    "link to itself", "socket", "UTF-16", "byte order mark", "NUL bytes", "one long line",
    "twice", "random", "JSON of nothing", "JSON list", "deep JSON",
)  # fmt: skip


@dataclass(frozen=True)
class ByteChange:
    """At a share of the file: bytes flipped, cut out, put in, set to zero or copied."""

    how: str
    at: int
    length: int
    data: bytes

    def of(self, content: bytes) -> bytes:
        start = self.at * len(content) >> 32
        stop = start + self.length
        if self.how == "flip":
            sign = self.data[0] or 1
            flipped = bytes(one ^ sign for one in content[start : start + 1])
            return content[:start] + flipped + content[start + 1 :]
        if self.how == "cut":
            return content[:start] + content[stop:]
        if self.how == "end":
            return content[:start]
        if self.how == "insert":
            return content[:start] + self.data + content[start:]
        if self.how == "zero":
            return content[:start] + bytes(len(content[start:stop])) + content[stop:]
        if self.how == "set":
            return content[:start] + self.data + content[start + len(self.data) :]
        return content[:stop] + content[start:]


# Hypothesis prefers small numbers: places are to be anywhere.
anywhere = st.integers(0, (1 << 32) - 1).map(lambda number: number * 2654435761 % (1 << 32))

byte_changes = st.builds(
    ByteChange,
    how=st.sampled_from(("flip", "cut", "end", "insert", "zero", "set", "copy")),
    at=anywhere,
    length=st.integers(1, 64),
    data=st.binary(min_size=1, max_size=8),
)


@dataclass(frozen=True)
class TreeChange:
    """At a node of a tree of lists and dictionaries, counted in its order."""

    how: str
    at: int
    other: int
    value: int

    def of(self, tree: Any) -> Any:
        places = list(_places(tree))
        if not places:
            return copy.deepcopy(WEIRD[self.value % len(WEIRD)])
        holder, key = places[self.at % len(places)]
        value = copy.deepcopy(WEIRD[self.value % len(WEIRD)])
        if self.how == "set":
            holder[key] = value
        elif self.how == "remove":
            del holder[key]
        elif self.how == "copy":
            from_holder, from_key = places[self.other % len(places)]
            holder[key] = json.loads(json.dumps(from_holder[from_key]))
        elif self.how == "wrap":
            holder[key] = [holder[key]]
        elif isinstance(holder, dict) and self.how == "rename":
            holder[f"{key}2"] = holder.pop(key)
        elif isinstance(holder, dict):
            holder["colour"] = value
        elif self.how == "rename":
            holder[:] = holder[::-1]
        else:
            holder.insert(key, holder[key])
        return tree


tree_changes = st.builds(
    TreeChange,
    how=st.sampled_from(("set", "set", "set", "remove", "copy", "wrap", "rename", "add")),
    at=anywhere,
    other=anywhere,
    value=anywhere,
)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(tree, dict | list):  # an earlier change put a value in the tree's place
        return
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def json_text(tree: Any) -> bytes:
    """A tree as JSON, with what no JSON value stands for."""
    text = json.dumps(tree)
    return re.sub(
        rf'"{_RAW}((?:[^"\\]|\\.)*)"', lambda found: json.loads(f'"{found[1]}"'), text
    ).encode(errors="surrogatepass")


def raw(value: Any) -> Any:
    """A value without the mark of what is written as it stands."""
    return value.removeprefix(_RAW) if isinstance(value, str) else value


@dataclass(frozen=True)
class Nature:
    """Another thing in the place of the file."""

    what: str

    def at(self, path: Path) -> None:
        content = path.read_bytes()
        path.unlink()
        if self.what == "pipe":
            os.mkfifo(path)
        elif self.what == "folder":
            path.mkdir()
        elif self.what == "zeros for ever":
            path.symlink_to("/dev/zero")
        elif self.what == "sparse, 20 GB":
            with path.open("wb") as file:
                file.write(content)
                file.truncate(20 << 30)
        elif self.what == "link to nothing":
            path.symlink_to(path.with_name("nothing"))
        elif self.what == "link to itself":
            path.symlink_to(path.name)
        elif self.what == "socket":
            import socket

            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        elif self.what != "gone":
            path.write_bytes(self._content(content))

    def _content(self, content: bytes) -> bytes:
        made = {
            "empty": b"",
            "UTF-16": content.decode(errors="replace").encode("utf-16"),
            "byte order mark": b"\xef\xbb\xbf" + content,
            "NUL bytes": bytes(len(content)),
            "one long line": b"x" * (8 << 20),
            "twice": content * 2,
            "random": bytes(range(256)) * 16,
            "JSON of nothing": b"null",
            "JSON list": b"[]",
            "deep JSON": b"[" * 100_000,
        }
        return made[self.what]


natures = st.builds(Nature, what=st.sampled_from(NATURES))
