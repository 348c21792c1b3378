"""``qreg train``: train a checkpoint from its recipe."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.cli.options import (
    add_data_options,
    add_thread_option,
    check_model_and_methods,
    options_of,
)
from qreg.errors import CheckpointError
from qreg.names import Once, positive, positive_or_zero
from qreg.quantization import METHODS, TRAINED
from qreg.training.recipe import figure_of

if TYPE_CHECKING:
    from qreg.training.loop import Step
    from qreg.training.recipe import Recipe

_EPILOG = """\
An interrupted training resumes after its last finished epoch when the same command is run again.
Fine-tuned kinds start from the fp32 checkpoint.

examples:
  qreg train --list
  qreg train --model simple_cnn --dataset shapes10 --out mine
  qreg train --model simple_cnn --dataset shapes10 --method qat --out mine
  qreg train --model mypackage.nets:make_net --dataset my_images/ --epochs 20
  qreg train --model houses:mlp --dataset houses:data --task regression
  qreg train --model nets:detector --dataset nets:photos --task detection --loss nets:loss
  qreg train --model mypackage.nets:make_net --dataset my_images/ --method fx-qat
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "train",
        help=what,
        description="Train a checkpoint by its recorded recipe, or else by the default recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_options(parser)
    parser.add_argument(
        "--method",
        action=Once,
        default="fp32",
        choices=TRAINED,
        help="the kind of checkpoint, or a method that starts from one: the trained model is first "
        "seen to be convertible by it (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="output folder (default: that of --checkpoints)"
    )
    parser.add_argument("--epochs", type=positive, metavar="N", help="instead of the recipe's")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="instead of the recipe's")
    parser.add_argument(
        "--seed", type=positive_or_zero, metavar="N", help="instead of the recipe's"
    )
    parser.add_argument(
        "--loss",
        action=Once,
        default="",
        metavar="NAME",
        help="package.module:function of (outputs, targets) to minimize (default: the task's)",
    )
    parser.add_argument("--list", action="store_true", help="list existing checkpoints")
    parser.add_argument("--force", action="store_true", help="replace an existing checkpoint")
    add_thread_option(parser)
    kept = "finished epochs are kept: the same command goes on from there"
    parser.set_defaults(run=run, interrupted=kept)


def run(args: argparse.Namespace) -> int:
    """Train a checkpoint and print its accuracy."""
    if args.list:
        return _list(args.checkpoints)
    check_model_and_methods(args.model, (), args.weights_file)
    from qreg.cli.terminal import progress_bar, say

    with progress_bar() as show:
        show(0, 1, "loading PyTorch")
        from qreg.files import check_output
        from qreg.training.checkpoints import checkpoint_path
        from qreg.training.run import make_checkpoint

        options = options_of(args, show)
        options.apply_threads()
        dataset = options.dataset(args.dataset)
        method, args.method = args.method, METHODS.info(args.method).checkpoint
        recipe = _recipe(args, options.folders, dataset.name)
        out = args.out or options.folders[0]
        path = checkpoint_path(out, args.model, dataset.name, args.method)
        check_output(path)
        if path.exists() and not args.force:
            raise CheckpointError(
                f"{path} already exists", hint="give --out DIR, or --force to replace it"
            )

        def report(step: Step) -> None:
            what = f"epoch {step.epoch + 1}/{recipe.epochs}, loss {step.loss:.3f}"
            show(step.batch, step.batches, what)

        done = make_checkpoint(
            recipe,
            dataset=dataset,
            options=options,
            out=out,
            report=report,
            method=method,
        )
    say(f"{path}: {figure_of(done)} of {done.test_total} test samples, sha256 {done.sha256}")
    return 0


def _list(chosen: Path | None) -> int:
    from qreg.cli.terminal import console, say
    from qreg.report.checkpoints import recipes_table
    from qreg.training.checkpoints import checkpoint_folders, recipe_of

    damaged = 0
    for folder in checkpoint_folders(chosen):
        found: list[Recipe] = []
        for file in sorted(folder.glob("*/*/*.safetensors")):
            try:
                found.append(recipe_of(file))
            except CheckpointError as error:
                damaged += 1
                say(f"{error}", error=True)
        if found:
            console().print(recipes_table(found, title=str(folder)))
    return int(damaged > 0)


def _recipe(args: argparse.Namespace, folders: tuple[Path, ...], dataset: str) -> Recipe:
    from qreg.cli.terminal import say
    from qreg.errors import MissingCheckpointError
    from qreg.training.checkpoints import find_checkpoint, recipe_of
    from qreg.training.recipe import default_recipe

    recipe = default_recipe(args.model, dataset, args.method)
    try:
        recipe = recipe_of(find_checkpoint(folders, args.model, dataset, args.method))
    except MissingCheckpointError:
        pass
    except CheckpointError as error:
        if not args.force:
            raise
        say(f"{error}: trained by the default recipe", error=True)
    chosen = {"epochs": args.epochs, "learning_rate": args.learning_rate, "seed": args.seed}
    changes = {name: value for name, value in chosen.items() if value is not None}
    recipe = replace(recipe, **changes)
    if recipe.loss and not args.loss:
        raise CheckpointError(
            f"the recorded recipe was trained with the loss {recipe.loss}",
            hint=f"a recipe's file runs no code: name it again, --loss {recipe.loss}",
        )
    return replace(recipe, loss=args.loss, sha256="", test_correct=0, test_total=0, test_result="")
