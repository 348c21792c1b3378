"""An interpreter whose PyTorch does something else: this one, its modules changed on import."""

from __future__ import annotations

import sys
from pathlib import Path

_SITE = """
import importlib.abc, importlib.util, sys

CHANGES = {changes!r}

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in CHANGES:
            return None
        code = CHANGES.pop(name)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            exec(code, {{"m": module}})
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def doctored_python(folder: Path, changes: dict[str, str]) -> Path:
    """Write it; `changes` is code by module, run with the module as ``m`` when it is imported."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE.format(changes=changes))
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="{folder}:$PYTHONPATH" exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    return python
