"""timm's networks: ``timm:resnet10t``. Needs ``qreg[timm]``."""

from __future__ import annotations

from functools import partial
from typing import Any

from qreg.errors import UnavailableError, UnknownNameError


def network(name: str) -> Any:
    """A factory of the network of that name, with random weights unless its arguments say more.

    Raises:
        UnavailableError: timm is not installed.
        UnknownNameError: timm has no such network.
    """
    try:
        import timm
    except ImportError as error:
        raise UnavailableError(
            f"timm cannot be imported: {error}", hint="pip install 'qreg[timm]'"
        ) from error
    if not timm.is_model(name):
        import difflib

        near = difflib.get_close_matches(name, timm.list_models(), n=8, cutoff=0.3)
        raise UnknownNameError("model", f"timm:{name}", (f"timm:{one}" for one in near))
    return partial(timm.create_model, name)
