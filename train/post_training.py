"""What recipes do to a network once it is trained."""

from copy import deepcopy
from typing import Any

from torch import nn

from quaver.golden import Recipe
from quaver.golden.errors import check_choice
from quaver.train.afp_search import apply_afp, search_afp
from quaver.train.calibration import calibrate
from quaver.train.convert import Stand
from quaver.train.data_set import DataSet
from quaver.train.ptq import POST_TRAINING, quantise_post_training

CALIBRATION_INPUTS = 512
"""Training inputs from which scales are taken, a choice of ours."""
CALIBRATION_BATCH = 128


def quantised(recipe: Recipe, model: nn.Module, data: DataSet) -> tuple[nn.Module, dict[str, Any]]:
    """A trained network as `recipe.post_training` says, and what it is now: plain data.

    Raises
    ------
    ValueError
        If the recipe does nothing after training.
    """
    check_choice("post_training", recipe.post_training, ("afp", "ptq"))
    if recipe.post_training == "afp":
        found = search_afp(model)
        layers = [
            {"name": layer.name, "format": layer.format.name, "bits": layer.bits, "exponent_bits": layer.exponent_bits}
            for layer in found.layers
        ]
        return apply_afp(model, found), {"method": "afp", "average_bits": found.average_bits, "layers": layers}
    model = _unplaced(model)
    calibration = calibrate(model, data.train.inputs[:CALIBRATION_INPUTS].split(CALIBRATION_BATCH))
    plain = {"method": "ptq", "average_bits": float(POST_TRAINING.b.bits), "operands": calibration.operands}
    return quantise_post_training(model, calibration), plain


def _unplaced(model: nn.Module) -> nn.Module:
    """A copy of a model that `convert` left as it was, but for where generators stand."""
    copy = deepcopy(model)
    for name, child in list(copy.named_children()):
        if isinstance(child, Stand):
            delattr(copy, name)
    return copy
