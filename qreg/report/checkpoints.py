"""Training recipes as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.training.recipe import Recipe


def recipes_table(recipes: Sequence[Recipe], *, title: str) -> Table:
    """A row per checkpoint: its training and its accuracy."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for header in ("dataset", "model", "checkpoint"):
        table.add_column(header, no_wrap=True)
    for header in ("epochs", "peak rate", "samples", "test accuracy %", "torch", "sha256"):
        table.add_column(header, justify="right", no_wrap=True)
    for recipe in recipes:
        share = recipe.test_correct / max(1, recipe.test_total)
        shown = recipe.test_result or f"{share * 100:.2f}"
        table.add_row(
            recipe.dataset,
            recipe.model,
            recipe.kind,
            str(recipe.epochs),
            f"{recipe.learning_rate:g}",
            str(recipe.train_images),
            shown,
            recipe.torch,
            recipe.sha256[:8],
        )
    return table
