"""Model architectures by name, and the contract a factory keeps.

A name is one of the shipped, ``torchvision:resnet18``, ``torchvision.quantization:resnet18``,
``timm:resnet10t``, ``file:PATH`` of a model's file, ``package.module:factory``, or a name that
``[tool.qreg]`` defines, with keyword arguments or a file of weights. The contract of a factory:

- called without arguments, or with those of its definition, it returns a fresh, float
  `torch.nn.Module`, with random weights or with its own;
- the module maps float images (N, C, H, W) to logits (N, classes), and N may be 1;
- layers that are to be fused are modules of their own, used once each (`nn.ReLU()`, not
  `functional.relu`); sums go through `torch.ao.nn.quantized.FloatFunctional`;
- a `QuantStub` and `DeQuantStub` may be in it; where they are missing they are put around it;
- a method ``fuse_model`` as torchvision's quantizable models have it is used for fusing when
  there is one, with ``is_qat`` where it takes that; else chains of Conv, BatchNorm and ReLU are
  found by torch.fx.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from qreg.artifacts.names import FILE, FILE_PATH, is_file_name
from qreg.errors import ContractError
from qreg.models.source import ModelSource
from qreg.records.weights import Weights, WeightsSource
from qreg.registry import Registry

if TYPE_CHECKING:
    from torch import nn


class ModelFactory(Protocol):
    """Builds a fresh float model."""

    def __call__(self, **arguments: Any) -> nn.Module: ...


MODELS: Registry[ModelFactory] = Registry("model")
MODELS.register("simple_cnn", "qreg.models.simple_cnn:SimpleCNN")
MODELS.register("linear_100", "qreg.models.linear_100:Linear100")
MODELS.register("resnet20", "qreg.models.resnet20:ResNet20")
MODELS.register("mobilenet_v2", "qreg.models.mobilenet_v2:mobilenet_v2")
MODELS.register_library("torchvision", "qreg.models.torchvision_models:classifier")
MODELS.register_library("torchvision.quantization", "qreg.models.torchvision_models:quantizable")
MODELS.register_library("timm", "qreg.models.timm_models:network")
MODELS.register_library(FILE, "qreg.artifacts.load:float_model", names=FILE_PATH)
_SHIPPED = frozenset(MODELS.names())
_WEIGHTS: dict[str, ModelSource] = {}
_FILES: dict[str, str] = {}
_FACTORIES: dict[str, str] = {}
_RENAMED: dict[str, str] = {}


def define_models(sources: Iterable[ModelSource]) -> None:
    """Let cases name these models, and no others that were defined before."""
    defined = {source.name: source for source in sources}
    _WEIGHTS.clear()
    _FILES.clear()
    _FACTORIES.clear()
    _FACTORIES.update((name, one.factory) for name, one in defined.items())
    _RENAMED.clear()
    _RENAMED.update(
        (name, one.factory)
        for name, one in defined.items()
        if name != one.factory and not (one.arguments or one.weights)
    )
    _FILES.update((n, one.factory) for n, one in defined.items() if is_file_name(one.factory))
    _WEIGHTS.update((name, one) for name, one in defined.items() if one.weights)
    MODELS.define(
        {
            name: partial(_with_arguments, source)
            for name, source in defined.items()
            if source.arguments or name != source.factory
        }
    )


def _with_arguments(source: ModelSource) -> ModelFactory:
    factory = _factory(source.factory)
    return partial(factory, **dict(source.arguments))


def build_model(name: str, *, seed: int = 0) -> nn.Module:
    """Build a fresh float model, its random weights drawn from `seed`, in evaluation mode.

    Raises:
        UnknownNameError: `name` is not known; see `qreg.models`.
        UnavailableError: the library it is from is not installed.
        ContractError: the factory needs other arguments, or does not return a float module.
        CheckpointError: its file of weights is missing or does not fit.
    """
    from qreg.models.stubs import with_stubs

    model = _built(name, seed=seed)
    return model if _file_behind(name) else with_stubs(model).eval()


def needs_torchvision(name: str) -> bool:
    """Whether building a model imports torchvision, as far as its name says."""
    source = _FACTORIES.get(name, name)
    return source == "mobilenet_v2" or source.startswith(("torchvision:", "torchvision."))


def names_of(name: str) -> tuple[str, ...]:
    """A model's name, and its factory's where the name stands for that with nothing changed."""
    return (name, _RENAMED[name]) if name in _RENAMED else (name,)


def _file_behind(name: str) -> str:
    """The file that a model's name stands for, as ``file:PATH``; "" for a factory."""
    return _FILES.get(name, name if is_file_name(name) else "")


def is_file(name: str) -> bool:
    """Whether a model is a file, by its own name or by its definition."""
    return bool(_file_behind(name))


def is_shipped(name: str) -> bool:
    """Whether a model is one of qreg's own, whose weights are in checkpoints."""
    return name in _SHIPPED


def brought_weights(name: str) -> Weights:
    """The weights that `build_model` gives a model: from a file, its factory's, or random.

    A factory brings weights if it builds the same ones whatever the seed.

    Raises: as `build_model`.
    """
    from qreg.models.weights import state_digest

    if given := _file_behind(name):
        from qreg.artifacts.load import file_of, load_file

        facts = file_of(load_file(given))
        assert facts
        return Weights(WeightsSource.FILE, facts.sha256)
    if name in _WEIGHTS and (path := _WEIGHTS[name].weights):
        from qreg.data.files import file_sha256

        return Weights(WeightsSource.FILE, file_sha256(path))
    first = state_digest(_built(name, seed=0))
    random = name in _SHIPPED or state_digest(_built(name, seed=1)) != first
    return Weights(WeightsSource.RANDOM if random else WeightsSource.FACTORY, first)


def _built(name: str, *, seed: int) -> nn.Module:
    import torch

    from qreg.models.contract import refuse_quantized, refuse_script
    from qreg.models.weights import load_weights

    model = _called(name, seed=seed)
    if not isinstance(model, torch.nn.Module):
        found = type(model).__name__
        raise ContractError(f"model '{name}' returned {found}, not torch.nn.Module", hint=_HINT)
    if _file_behind(name):
        from qreg.artifacts.load import refuse_quantized_file

        refuse_quantized_file(model, name=name)
    else:
        refuse_script(model, name=name)
    refuse_quantized(model, name=name)
    if name in _WEIGHTS and (path := _WEIGHTS[name].weights):
        load_weights(model, path, name=name)
    return model


# What users' factories returned last, by factory and seed: one may load or train for minutes, and
# every case of the model asks for it. Only copies are handed out.
_RETURNED: dict[tuple[object, ...], object] = {}
_KEPT = 2  # the seeds of one model


def _called(name: str, *, seed: int) -> object:
    """What the factory returns; a copy, where it was called before and its result can be copied.

    What it warns of is heard where it is called each time: else only a run's first case of the
    model would have these warnings, whichever case that is.
    """
    import torch

    from qreg.models.copies import made_copyable

    if name in _SHIPPED:
        factory = _factory(name)
        torch.manual_seed(seed)
        return factory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a module is imported once: one case would hear it
        factory = _factory(name)
    torch.manual_seed(seed)
    key = _key(factory, seed)
    if key in _RETURNED:
        return copy.deepcopy(_RETURNED[key])
    try:
        with torch.enable_grad(), warnings.catch_warnings(record=True) as emitted:
            warnings.simplefilter("always")
            returned = factory()
    except TypeError as error:
        if "argument" not in str(error):
            raise
        hint = _HINT if name in MODELS.names() or MODELS.defines(name) else _arguments_hint(name)
        raise ContractError(f"model '{name}': {error}", hint=hint) from error
    if isinstance(returned, torch.nn.Module):
        returned = made_copyable(returned)
    try:
        kept = copy.deepcopy(returned)
    except Exception:  # what cannot be copied is built again each time, and says so each time
        for one in emitted:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return returned
    while len(_RETURNED) >= _KEPT:
        del _RETURNED[next(iter(_RETURNED))]
    _RETURNED[key] = kept
    return returned


def _arguments_hint(name: str) -> str:
    table = f'models = [{{ factory = "{name}", ARGUMENT = VALUE }}]'
    return f"name a function that needs no arguments, or give them in [tool.qreg]: {table}"


def _key(factory: ModelFactory, seed: int) -> tuple[object, ...]:
    if isinstance(factory, partial):  # a new one at every look-up
        return factory.func, repr(factory.args), repr(sorted(factory.keywords.items())), seed
    return factory, seed


def _factory(name: str) -> ModelFactory:
    factory: Callable[..., nn.Module] = MODELS.get(name)
    if not callable(factory):
        raise ContractError(f"model '{name}' is not callable", hint=_HINT)
    return factory


#: Recorded among a case's warnings.
CONTIGUOUS = "images are given in contiguous order: the network cannot take channels_last (view)"
_HINT = "a model is a function that returns a fresh float torch.nn.Module"


#: What to do where a classifier returns more than its logits.
CHOOSE_OUTPUT = (
    "say which output has the logits: in a module of yours, TASK = classification(output='logits') "
    "of qreg.tasks.classification, and its task package.module:TASK"
)


def check_logits(
    name: str, outputs: object, *, batch: int, classes: int, task: str = "classification"
) -> None:
    """Check that a classifier's outputs are logits (batch, at least `classes`).

    The outputs of other tasks are the task's to check; a tensor must be of `batch` samples.

    Raises:
        ContractError: it is not a tensor of that shape.
    """
    import torch

    classifier = task == "classification"
    if isinstance(outputs, torch.Tensor):
        whole = bool(outputs.ndim) and outputs.shape[0] == batch
        logits = outputs.ndim == 2 and outputs.shape[-1] >= classes
        fits, found = whole and (logits or not classifier), f"shape {tuple(outputs.shape)}"
    else:
        fits, found = not classifier, f"a {type(outputs).__name__}"
    if fits:
        return
    wanted = f"logits (N, {classes or 'classes'})" if classifier else "outputs of N samples"
    hint = ", or name the dataset's task in [tool.qreg]" if classifier else ""
    several = classifier and not isinstance(outputs, torch.Tensor)
    raise ContractError(
        f"model '{name}' returned {found} for {batch} samples",
        hint=f"its forward must return {wanted}{f'; or {CHOOSE_OUTPUT}' if several else hint}",
    )
