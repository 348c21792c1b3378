"""Options shared by several commands: names, conversion, and the records made from them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from qreg.errors import QregError
from qreg.models import MODELS, define_models, is_shipped
from qreg.names import Names, Once, positive, positive_or_zero
from qreg.progress import Progress, no_progress
from qreg.quantization import METHODS
from qreg.quantization.engines import ALL_ENGINES, available_engines, check_engine, default_engine
from qreg.selection import (
    bring_weights,
    dataset_sources,
    models_with_weights,
    project_checkpoints,
    use_project,
    with_weights,
)
from qreg.settings import find_settings
from qreg.tasks import TASKS

if TYPE_CHECKING:
    from qreg.measure.options import Options
    from qreg.processes.cluster import RayExecutor
    from qreg.records.case import Case


_OR_THE_TABLES = "; where [tool.qreg] lacks one of them, what it has"


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, epilog: str
) -> argparse.ArgumentParser:
    """Add an action to a command, such as ``qreg baseline show``; `what` is its short help."""
    return actions.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_numbers(parser: argparse.ArgumentParser, numbers: Mapping[str, tuple[int, str]]) -> None:
    """Add options that take a whole number: name to (default, help).

    0 is allowed where it is the default.
    """
    for name, (default, what) in numbers.items():
        parser.add_argument(
            f"--{name}",
            type=positive if default else positive_or_zero,
            default=default,
            metavar="N",
            help=f"{what} (default: {default})",
        )


def add_method_option(
    parser: argparse.ArgumentParser,
    default: tuple[str, ...],
    what: str,
    *,
    among: tuple[str, ...] | None = None,
    of_the_project: bool = False,
) -> None:
    """Add --methods; `what` is its help.

    Args:
        of_the_project: what [tool.qreg] has comes first; see `choose_the_projects`.
    """
    parser.add_argument(
        "--methods",
        "--method",
        action=Names,
        default=default,
        among=among,
        metavar="A,B,...",
        help=f"{what} (default: {','.join(default)}{_OR_THE_TABLES if of_the_project else ''})",
    )
    parser.set_defaults(methods_of_the_project=default if of_the_project else None)


def add_engine_option(parser: argparse.ArgumentParser) -> None:
    """Add --engines; see `chosen_engines`."""
    parser.add_argument(
        "--engines",
        "--engine",
        action=Names,
        metavar="A,B,...",
        help=f"from {', '.join(ALL_ENGINES)}, or all (default: the first available one)",
    )


def chosen_engines(names: tuple[str, ...]) -> tuple[str, ...]:
    """The engines that --engines names; by default the machine's first one.

    Raises:
        UnknownNameError: there is no such engine.
    """
    if "all" in names:
        return available_engines()
    return tuple(check_engine(name) for name in names) or (default_engine(),)


def add_limit_option(parser: argparse.ArgumentParser) -> None:
    """Add --limit."""
    parser.add_argument(
        "--limit",
        type=positive_or_zero,
        default=0,
        metavar="N",
        help="only the first N test samples",
    )


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """Add --method and --engine of a command that looks at one case."""
    parser.add_argument(
        "--method",
        action=Once,
        default="static",
        metavar="NAME",
        help="(default: %(default)s, or the first quantized one of [tool.qreg])",
    )
    parser.add_argument(
        "--engine",
        action=Once,
        default="",
        metavar="NAME",
        help=f"of {', '.join(ALL_ENGINES)} (default: the first available one)",
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, --dataset, --data-dir and --checkpoints."""
    parser.add_argument(
        "--model",
        action=Once,
        default="simple_cnn",
        metavar="NAME",
        help=f"{', '.join(MODELS.names())}, or your own package.module:factory "
        "(default: the only one of [tool.qreg], else %(default)s)",
    )
    parser.add_argument(
        "--dataset",
        action=Once,
        default="shapes10",
        metavar="NAME",
        help="shapes10 (generated), cifar10 (downloaded once), a folder of images, an npz "
        "file, or package.module:DATASET (default: the only one of [tool.qreg], else %(default)s)",
    )
    add_task_option(parser)
    add_weights_option(parser)
    add_folder_options(parser)
    parser.set_defaults(of_the_project=True)


def choose_the_projects(args: argparse.Namespace) -> None:
    """Let a command for one model and dataset have the table's, where the command names none.

    Raises:
        QregError: the table has several, and not the default among them.
    """
    settings = find_settings(Path.cwd()) if getattr(args, "of_the_project", False) else None
    if settings is None or getattr(args, "list", False):
        return
    if not hasattr(args, "_model_is_given"):
        args.model = _the_only("model", args.model, {name: name for name in settings.models})
    own = dict(dataset_sources(settings))
    if hasattr(args, "_dataset_is_given"):  # a file or folder by the name that its cases have
        args.dataset = own.get(args.dataset, args.dataset)
    elif args.model in settings.models or not is_shipped(args.model):
        args.dataset = _the_only("dataset", args.dataset, own)
    if args.model in settings.models:
        _choose_the_methods(args, settings.methods)


def choose_the_folders(args: argparse.Namespace) -> None:
    """Let a command for one model have the project's checkpoints and data, where it names none.

    Others read the table where they measure, which may be that of another revision.
    """
    settings = find_settings(Path.cwd()) if getattr(args, "of_the_project", False) else None
    if settings is None:
        return
    args.checkpoints = args.checkpoints or project_checkpoints(settings)
    args.data_dir = args.data_dir or settings.data_dir


def _choose_the_methods(args: argparse.Namespace, own: tuple[str, ...]) -> None:
    """The table's, where it lacks one of the usual ones: it says what works for its models."""
    usual = getattr(args, "methods_of_the_project", None)
    if usual is not None and args.methods is usual and not set(usual) <= set(own):
        args.methods = own
    one = getattr(args, "method", None)
    if one == "static" and one not in own and not hasattr(args, "_method_is_given"):
        floats = {info.name for info in METHODS.facts() if info.float_only}
        args.method = next((name for name in own if name not in floats), one)


def _the_only(kind: str, usual: str, own: Mapping[str, str]) -> str:
    """The source of the only one of a kind, or of the usual one."""
    if len(own) != 1 and usual not in own:
        hint = f"give one: {', '.join(f'--{kind} {name}' for name in own)}"
        raise QregError(f"[tool.qreg] has {len(own)} {kind}s", hint=hint)
    return own[usual] if usual in own else next(iter(own.values()))


def add_weights_option(parser: argparse.ArgumentParser) -> None:
    """Add --weights-file."""
    parser.add_argument(
        "--weights-file",
        type=Path,
        metavar="FILE",
        help="the model's weights: safetensors, or a saved state dict; as weights = FILE in "
        "[tool.qreg]",
    )


def add_task_option(parser: argparse.ArgumentParser) -> None:
    """Add --task."""
    parser.add_argument(
        "--task",
        action=Once,
        default="",
        metavar="NAME",
        help=f"what scores the outputs: {', '.join(TASKS.names())}, or package.module:TASK "
        "(default: the dataset's own, else classification)",
    )


def add_folder_options(parser: argparse.ArgumentParser, *, downloads: bool = True) -> None:
    """Add --data-dir and --checkpoints."""
    default = "it is downloaded" if downloads else "an earlier download"
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"folder of an existing cifar10; else QREG_DATA_DIR, else {default}",
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="folder of trained weights; else that of [tool.qreg] or QREG_CHECKPOINTS, else "
        "baselines/checkpoints, then the shipped ones",
    )


def add_thread_option(parser: argparse.ArgumentParser, *, default: int = 0) -> None:
    """Add --threads; 0 means PyTorch's default."""
    parser.add_argument(
        "--threads",
        type=positive_or_zero,
        default=default,
        metavar="N",
        help=f"threads of PyTorch's kernels (default: {default or 'that of PyTorch'})",
    )


def add_ray_option(parser: argparse.ArgumentParser) -> None:
    """Add --ray."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        default="",
        help="run on a Ray cluster: its address, auto, or local (a cluster of this machine)",
    )


@contextmanager
def executor_of(args: argparse.Namespace, cases: Sequence[Case]) -> Iterator[RayExecutor | None]:
    """The cluster that --ray names, with what measuring the cases needs; None for this machine.

    Raises:
        QregError: Ray is not installed, there is no cluster, or a file cannot be sent.
    """
    if not args.ray:
        yield None
        return
    from qreg.processes.cluster import project_executor
    from qreg.selection import project_settings

    options = options_of(args)
    executor = project_executor(args.ray, project_settings(), cases, options)
    try:
        yield executor
    finally:
        executor.close()


def options_of(args: argparse.Namespace, progress: Progress = no_progress) -> Options:
    """The measurement options from a command's arguments, as far as it has them."""
    from qreg.measure.options import Options

    others = ("progress", "sources", "weight_files")
    names = (field.name for field in fields(Options) if field.name not in others)
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return Options(**given, weight_files=models_with_weights(), progress=progress)


def check_model_and_methods(
    model: str, methods: tuple[str, ...], weights: Path | None = None
) -> None:
    """Refuse unknown names before anything slow starts; includes the project's definitions.

    Args:
        weights: a file with the model's weights, in place of those of its definition.

    Raises:
        UnknownNameError: a name is neither registered nor an object path.
        QregError: the file is not there, or the model is a shipped one, which has checkpoints.
    """
    bring(model, weights)
    settings = find_settings(Path.cwd())
    if settings is not None:
        use_project(settings)
    elif weights is not None:
        define_models(with_weights(()))
    MODELS.check(model)
    for method in methods:
        METHODS.check(method)


def bring(model: str, weights: Path | None) -> None:
    """Let a model have the weights of a file; without one, let none have any but its own.

    Raises:
        QregError: the file is not there, or the model is a shipped one, which has checkpoints.
    """
    bring_weights({})
    if weights is None:
        return
    if is_shipped(model):
        raise QregError(
            f"--weights-file with {model}, a shipped model",
            hint="its weights are checkpoints: --checkpoints DIR",
        )
    if not weights.is_file():
        raise QregError(f"no weights at {weights}", hint="name a file that is there")
    bring_weights({model: weights.absolute()})
