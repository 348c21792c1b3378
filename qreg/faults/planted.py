"""A bad site planted at each position of a quantized model: the ranking must put it first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from qreg.faults.results import PlantedSite
from qreg.faults.surgery import replace_weights
from qreg.measure.options import Options
from qreg.quantization import METHODS, Context, Method, get_method
from qreg.records.case import Case
from qreg.sensitivity.measuring import prepared
from qreg.sensitivity.records import Site, SitePart
from qreg.sensitivity.run import in_users_names, measure_sensitivity

#: Samples on which the sites are ranked.
SAMPLES = 200
# An output's scale grows by this factor: few codes are left for what the layer computes.
_COARSER = 100


def planted_sites(case: Case, options: Options) -> Iterator[PlantedSite]:
    """Damage each site of a case alone, and rank all.

    Sites that are no parameters of a quantized module, such as those of dynamic quantization's
    inputs or of graphs, are left out.

    Raises:
        QregError: the case cannot be built, or has no sites.
    """
    few = replace(options, limit=min(options.limit or SAMPLES, SAMPLES))
    method = get_method(case.method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of building the case are recorded elsewhere
        made = prepared(case, few)
    sites = [switch.site for switch in made.simulation.switches]
    damaged = [site for site in sites if _can_be_damaged(made.subject.model, site)]
    for number, site in enumerate(damaged):
        name = str(in_users_names(made, site))
        options.progress(number, len(damaged), f"bad site {name} in {case.method}")
        with METHODS.meaning({case.method: damaged_method(method, site)}):
            found = measure_sensitivity(case, few)
        effect = next(one for one in found.effects if str(one.site) == name)
        yield PlantedSite(
            case=case,
            site=name,
            rank=effect.rank,
            sites=len(found.effects),
            significant=effect.significant,
            drop=effect.only.drop if effect.only else None,
            noise=effect.noise or 0.0,
            unit=found.unit,
        )


def damaged_method(method: Method, site: Site) -> Method:
    """The method, whose result has this one site with a code or two left."""

    def quantize(model: nn.Module, context: Context) -> nn.Module:
        made = method.quantize(model, context)
        _damage(made.get_submodule(site.layer), site.part)
        return made

    return replace(method, quantize=quantize)


@torch.no_grad()
def _damage(module: Any, part: SitePart) -> None:
    if part is SitePart.WEIGHT:
        replace_weights(module, _coarse)
    else:
        module.scale = module.scale * _COARSER
        module.zero_point = module.zero_point * 0 + 1


def _coarse(weight: torch.Tensor) -> torch.Tensor:
    plain = weight.dequantize()
    return torch.quantize_per_tensor(plain, float(plain.abs().max()), 0, torch.qint8)


def _can_be_damaged(model: nn.Module, site: Site) -> bool:
    try:
        module = model.get_submodule(site.layer)
    except AttributeError:  # an operator of a graph
        return False
    if site.part is SitePart.WEIGHT:
        return hasattr(module, "set_weight_bias")
    stored = hasattr(module, "scale") and hasattr(module, "zero_point")
    return site.part is SitePart.OUTPUT and stored
