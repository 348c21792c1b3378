"""How a checkpoint is made: everything its training depends on.

Nothing that needs torch may be imported here, so that recipes are read without it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from qreg.errors import CheckpointError
from qreg.files import read_regular
from qreg.records.decode import MismatchError, decoder, parse
from qreg.records.method import CheckpointKind

FORMAT = 1  # 1: the fields below
# Far above what anybody trains with; a typing error would train for years.
_MOST, _MOST_RATE = 1_000_000, 1_000.0
# Bytes of a recipe: it has some hundred.
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Recipe:
    """What re-creates a checkpoint, and what came out.

    Attributes:
        learning_rate: its highest value; it rises linearly over the first `warmup` share of
            all steps and falls as a half cosine to 0.
        augment: random horizontal flips and shifts of up to 4 pixels.
        starts_from: sha256 of the fp32 checkpoint it was fine-tuned from, "" for fp32 itself.
        sha256: of the checkpoint file.
        test_correct, test_total: of the stored weights, on the test images there were.
        task: what the outputs are scored by.
        loss: a user's ``package.module:function``; "" for the task's own.
        test_result: "mean IoU 91.2 %", of another task than classification; "" for that.
    """

    model: str
    dataset: str
    kind: CheckpointKind
    epochs: int
    learning_rate: float
    seed: int = 0
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.3
    augment: bool = False
    starts_from: str = ""
    torch: str = ""
    dataset_fingerprint: str = ""
    train_images: int = 0
    sha256: str = ""
    test_correct: int = 0
    test_total: int = 0
    task: str = "classification"
    loss: str = ""
    test_result: str = ""
    format: int = FORMAT

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "kind", CheckpointKind(self.kind))
        except ValueError as error:
            raise CheckpointError(
                f"no recipe for '{self.kind}'",
                hint=f"kinds of checkpoints: {', '.join(CheckpointKind)}",
            ) from error
        if not (0 < self.learning_rate <= _MOST_RATE) or not (
            1 <= self.epochs <= _MOST and 1 <= self.batch_size <= _MOST
        ):
            raise CheckpointError(
                f"{self.epochs} epochs of batches of {self.batch_size} at {self.learning_rate}",
                hint="epochs, batch size and learning rate must be positive, epochs and batch size "
                f"at most {_MOST:,}, the learning rate at most {_MOST_RATE:g}",
            )
        if wrong := self._wrong():
            raise CheckpointError(f"a recipe with {wrong}", hint="see docs/commands/train.md")

    def _wrong(self) -> str:
        """What no training can have; "" where there is nothing."""
        shares = {"momentum": self.momentum, "warmup": self.warmup}
        odd = [f"{name} {value}" for name, value in shares.items() if not 0 <= value <= 1]
        if not 0 <= self.weight_decay <= _MOST_RATE:
            odd.append(f"weight_decay {self.weight_decay}")
        counts = (self.seed, self.train_images, self.test_correct, self.test_total)
        if min(counts) < 0 or max(counts) >= 1 << 63 or self.test_correct > self.test_total:
            odd.append("a seed or a number of samples that is none")
        return ", ".join(odd)

    def same_training(self, other: Recipe) -> bool:
        """Whether both describe the same training, whatever came out of it."""
        return self._training() == other._training()

    def _training(self) -> Recipe:
        return replace(self, sha256="", test_correct=0, test_total=0, test_result="")


#: Keys that stand in a recipe only where they are not what they usually are.
_OPTIONAL = ("task", "loss", "test_result")


def recipe_text(recipe: Recipe) -> str:
    """The recipe as JSON text, keys sorted."""
    usual = {f.name: f.default for f in fields(Recipe) if f.name in _OPTIONAL}
    found = {k: v for k, v in asdict(recipe).items() if k not in usual or v != usual[k]}
    return json.dumps(found, indent=2, sort_keys=True) + "\n"


def figure_of(recipe: Recipe) -> str:
    """The figure on the test samples: ``81.03%``, or ``mean IoU 91.2 %``."""
    return recipe.test_result or f"{recipe.test_correct / max(1, recipe.test_total):.2%}"


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        CheckpointError: it is not a JSON object with just the fields of `Recipe`, or says what no
            training can have.
    """
    hint = "the file is left unchanged: restore it, or train it again with: qreg train --force"
    try:
        found = parse(read_regular(path, most=_MOST_BYTES))
        if not isinstance(found, dict):
            raise CheckpointError("not a JSON object")
        number = found.get("format")
        if type(number) is not int or number != FORMAT:
            raise CheckpointError(f"format {number!r:.40}, this qreg reads {FORMAT}")
        recipe: Recipe = decoder(Recipe)(found)
    except (MismatchError, CheckpointError) as error:
        raise CheckpointError(f"{path}: {str(error).removeprefix(': ')}", hint=hint) from error
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}", hint=hint) from error
    return recipe


# (model, dataset) -> epochs, highest learning rate
_FROM_SCRATCH = {
    ("simple_cnn", "cifar10"): (6, 0.05),
    ("simple_cnn", "shapes10"): (12, 0.05),
    ("linear_100", "cifar10"): (5, 0.02),
    ("linear_100", "shapes10"): (5, 0.02),
    ("resnet20", "cifar10"): (10, 0.2),
    ("resnet20", "shapes10"): (5, 0.1),
    ("mobilenet_v2", "cifar10"): (6, 0.1),
    ("mobilenet_v2", "shapes10"): (6, 0.1),
}
_DEFAULT = (10, 0.05)
_FINETUNE_RATE = 0.004


def default_recipe(model: str, dataset: str, kind: CheckpointKind) -> Recipe:
    """The recipe qreg uses where no checkpoint has recorded one."""
    epochs, rate = _FROM_SCRATCH.get((model, dataset), _DEFAULT)
    if kind != CheckpointKind.FP32:
        epochs, rate = 1, _FINETUNE_RATE
    return Recipe(
        model=model,
        dataset=dataset,
        kind=kind,
        epochs=epochs,
        learning_rate=rate,
        seed=0 if kind == CheckpointKind.FP32 else 1,
        augment=dataset == "cifar10",
    )
