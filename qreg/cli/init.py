"""``qreg init``: a project's ``[tool.qreg]`` table, with the methods that were found to work."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from qreg.check.table import factories, parsed, table_text, with_table
from qreg.cli.check import add_check_options, checked, given_model, print_check
from qreg.cli.terminal import say, write_file
from qreg.errors import QregError
from qreg.files import check_output
from qreg.settings import read_toml, settings_of

_FILE = Path("pyproject.toml")
_DESCRIPTION = """\
Check a model (see `qreg check`), write the table [tool.qreg] of pyproject.toml with the methods
that work, and print the next commands. A table that is there is not touched without --force.
"""
_EPILOG = """\
examples:
  qreg init nets:tiny --dataset good.npz
  qreg init houses:mlp --dataset houses:data --task regression
  qreg init                                 the only model and the only npz file of this folder
  qreg init torchvision:resnet18 --dataset images/ --force

exit status: 0 written; 2 not written: there is a table, no model was found, its contract is broken
or no method works
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], what: str) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "init",
        help=what,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_check_options(parser)
    parser.add_argument("--force", action="store_true", help="replace a table that is there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check, write, and say what is next."""
    read_toml(_FILE)  # whatever is wrong with it is said
    before = _FILE.read_text(encoding="utf-8") if _FILE.exists() else ""
    # before slow work
    with_table(before, table_text("", "", ()), force=args.force, path=_FILE)
    check_output(_FILE)
    model = given_model(args) or _only(factories(Path.cwd()), "model", "nets:make_net")
    if not args.dataset and not args.inputs:
        args.dataset = _npz()
    _table(args, model, ("fp32",))  # before slow work
    found = checked(args, model)
    print_check(found, traceback=args.traceback)
    if found.broken:
        raise QregError(
            f"{model} does not keep the contract: {_FILE} is left as it is",
            hint="mend what is said above; `qreg check` says whether it is",
        )
    methods = tuple(dict.fromkeys(("fp32", *found.working)))
    if len(methods) == 1:
        raise QregError(f"no method works for {model}", hint="change the model as said above")
    table = _table(args, model, methods)
    write_file(_FILE, with_table(before, table, force=args.force, path=_FILE).encode())
    following = (*_to_train(args, model, methods), _update(), "pytest -m regression")
    say(f"\n{table}\nnext:", *(f"  {command}" for command in following))
    return 0


def _to_train(args: argparse.Namespace, model: str, methods: Sequence[str]) -> tuple[str, ...]:
    """The commands that train what the methods start from, where it is not there yet."""
    from qreg.cli.options import options_of
    from qreg.errors import MissingCheckpointError
    from qreg.quantization import method_info, train_command
    from qreg.records.method import CheckpointKind
    from qreg.training.checkpoints import find_checkpoint

    if not args.dataset:
        return ()
    options = options_of(args)
    commands: dict[CheckpointKind, str] = {}
    dataset = options.dataset(args.dataset).name
    for method in methods:
        kind = method_info(method).checkpoint
        try:
            find_checkpoint(options.folders, model, dataset, kind)
        except MissingCheckpointError:
            if kind != CheckpointKind.FP32:
                commands.setdefault(kind, train_command(model, args.dataset, method))
    return tuple(commands.values())


def _table(args: argparse.Namespace, model: str, methods: Sequence[str]) -> str:
    """The table, as every command will read it.

    Raises:
        QregError: a name in it would be refused.
    """
    text = table_text(model, args.dataset, methods, task=args.task, weights=args.weights_file)
    settings_of(_FILE, parsed(text, _FILE))
    return text


def _update() -> str:
    return f"qreg baseline update --category create --reason {shlex.quote('first baselines')}"


def _npz() -> str:
    """The only npz file of this folder."""
    found = sorted(path.name for path in Path.cwd().glob("*.npz"))
    return _only(found, "dataset", "--dataset NAME")


def _only(names: tuple[str, ...] | list[str], what: str, example: str) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise QregError(f"no {what} was found in this folder", hint=f"name it: {example}")
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    raise QregError(
        f"{len(names)} {what}s were found: {', '.join(names[:8])}{more}", hint="name one of them"
    )
