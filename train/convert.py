"""Models of PyTorch's modules become models whose products run on a processor."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from quaver.golden import Machine, Recipe, encode
from quaver.golden.catalog import FP32
from quaver.train import layers
from quaver.train.processor import Processor, decoded
from quaver.train.products import MatMul
from quaver.train.site import Casts, Site

PARTS = ("query", "key", "value", "scores", "context", "out_proj")
"""Products of an `nn.MultiheadAttention`, in their order."""
KINDS = (nn.Linear, nn.Conv2d, MatMul, nn.MultiheadAttention)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Where PyTorch keeps what is called beside a layer."""


class Stand(nn.Module):
    """Where the generators stand, as a part of the model that is saved with it."""

    def __init__(self, processor: Processor) -> None:
        super().__init__()
        self.processor = processor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nothing, as the last part of an `nn.Sequential`."""
        return x

    def get_extra_state(self) -> dict[str, object]:
        return self.processor.to_dict()

    def set_extra_state(self, state: Mapping[str, object]) -> None:
        self.processor.restore(state)


def convert(
    model: nn.Module,
    recipe: Recipe,
    *,
    machine: Machine | None = None,
    seed: int = 0,
    exempt: tuple[str, ...] = (),
) -> nn.Module:
    """Exchange the layers of `model`, in place, for layers that compute as `recipe` says; returns the model.

    `nn.Linear`, `nn.Conv2d`, `nn.MultiheadAttention` and `quaver.train.MatMul` are exchanged, in any module; products
    that a module's `forward` writes as `@` are not seen.  First and last layer are those with weights that the model
    registers first and last.  Parameters are rounded to the format of the master weights.  With recipe `fp32` nothing
    is exchanged.

    Parameters
    ----------
    machine, seed:
        As in `Processor`.
    exempt:
        Names of layers that are left as they are.

    Raises
    ------
    Unsuitable
        If the machine lacks a format of the recipe.
    ValueError
        For a name in `exempt` that is no layer, a layer with an option that is not supported, with hooks,
        parametrizations or a `forward` of its own, and a model without layers or one that was converted before.
    """
    processor = Processor(recipe, machine=machine, seed=seed)
    if any(isinstance(module, Stand) for module in model.modules()):
        raise ValueError("model was converted before")
    if isinstance(model, KINDS):
        raise ValueError(f"model must contain its layers, not be one: {type(model).__name__}")
    found = {name: module for name, module in model.named_modules() if isinstance(module, KINDS)}
    inside = tuple(f"{n}." for n, module in found.items() if isinstance(module, nn.MultiheadAttention))
    found = {name: module for name, module in found.items() if not name.startswith(inside or ("\0",))}
    for name in exempt:
        if name not in found:
            raise ValueError(f"exempt must name layers of {', '.join(found)}, not {name!r}")
    taken = {name: module for name, module in found.items() if name not in exempt}
    if not taken:
        raise ValueError("model must have a layer that multiplies and is not exempt")
    if recipe.host and recipe.weight.format == FP32:
        taken = {}
    sites = dict(_sites(processor, found))
    exchanged = {module: _exchanged(module, name, sites) for name, module in taken.items()}
    for name, module in list(model.named_modules(remove_duplicate=False)):  # a layer may have several places
        if module in exchanged:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, exchanged[module])
        elif exchanged and isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # its layers take no tensors whose rows differ in length
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(rounded_to_master(parameter, recipe))
    model.add_module("processor", Stand(processor))
    return model


def processor_of(model: nn.Module) -> Processor:
    """The processor of a converted model; ValueError for another one."""
    for module in model.modules():
        if isinstance(module, Stand):
            return module.processor
    raise ValueError("model must have been converted")


def rounded_to_master(parameter: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """A parameter as it is kept: rounded, to nearest, to the master format."""
    if recipe.master == FP32:
        return parameter.detach()
    codes = encode(parameter.detach().numpy(), recipe.master, saturate=True)
    return torch.from_numpy(decoded(codes, recipe.master))


def _sites(processor: Processor, found: Mapping[str, nn.Module]) -> Iterator[tuple[str, Site]]:
    weighty: dict[str, bool] = {}  # attention counts as a whole: it begins and ends with weights
    for name, module in found.items():
        places = [f"{name}.{part}" for part in PARTS] if isinstance(module, nn.MultiheadAttention) else [name]
        weighty |= dict.fromkeys(places, not isinstance(module, MatMul))
    ends = [place for place, has_weights in weighty.items() if has_weights]
    for place in weighty:
        casts = Casts.of(processor.recipe, first=[place] == ends[:1], last=[place] == ends[-1:])
        yield place, Site(processor, place, casts)


def _check_plain(module: nn.Module, name: str) -> None:
    """ValueError for a layer that does what the layer in its place would not."""
    (kind,) = (kind for kind in KINDS if isinstance(module, kind))
    parts = [module, module.out_proj] if isinstance(module, nn.MultiheadAttention) else [module]
    if type(module).forward is not kind.forward:
        own = f"forward of its own ({type(module).__name__})"
    elif any(getattr(part, hooks) for part in parts for hooks in HOOKS):
        own = "hooks"
    elif any(is_parametrized(part) for part in parts):
        own = "parametrizations"
    else:
        return
    raise ValueError(f"{name} must have no {own}, unless exempt")


def _exchanged(module: nn.Module, name: str, sites: Mapping[str, Site]) -> nn.Module:
    _check_plain(module, name)
    new: nn.Module
    if isinstance(module, nn.Linear):
        new = layers.Linear(module, sites[name])
    elif isinstance(module, nn.Conv2d):
        new = layers.Conv2d(module, sites[name])
    elif isinstance(module, nn.MultiheadAttention):
        new = layers.MultiheadAttention(module, layers.SiteOf(sites, name))
    else:
        new = layers.MatMul(sites[name])
    return new.train(module.training)
