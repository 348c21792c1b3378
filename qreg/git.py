"""The current git commit."""

from __future__ import annotations

import subprocess
from pathlib import Path


def current_commit(folder: Path) -> str:
    """HEAD of the repository of `folder`, with "-dirty" for uncommitted changes; "" outside git."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return ""
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if changed else head


def _git(folder: Path, *command: str) -> str:
    try:
        done = subprocess.run(
            ["git", *command], cwd=folder, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
