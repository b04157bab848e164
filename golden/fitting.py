"""Which layers of a recipe a machine computes as the recipe has them, and what a machine would need for all of them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, get_args

from quaver.golden.arithmetic import AlignedSum
from quaver.golden.catalog import BF16
from quaver.golden.errors import Unsuitable
from quaver.golden.formats import Format
from quaver.golden.machine import Machine
from quaver.golden.recipe import Cast, Recipe, Squeeze

Place = Literal["first", "inner", "last"]
PLACES: tuple[Place, ...] = get_args(Place)


def operands_at(recipe: Recipe, place: Place) -> tuple[Cast, Cast, Cast]:
    """Weight, activation and error of the first, the last or of any other layer that multiplies."""
    edge = recipe.edge if place in recipe.edges else None
    image = recipe.image if place == "first" else None
    return edge or recipe.weight, image or edge or recipe.activation, edge or recipe.error


def ports_at(recipe: Recipe, place: Place) -> tuple[tuple[Format, ...], tuple[Format, ...]]:
    """Formats of the left and of the right operands of a layer's products, each once.

    Forward X W, data gradient dY W^T, weight gradient dY^T X; the first layer has no data gradient.
    """
    weight, activation, error = (cast.operand for cast in operands_at(recipe, place))
    return tuple(dict.fromkeys((activation, error))), tuple(dict.fromkeys((weight, activation)))


def misfits(recipe: Recipe, machine: Machine, place: Place) -> Iterator[str]:
    """Why a layer's products have other bits on the machine's array, or none at all; nothing where they are equal."""
    if recipe.host:
        yield "products are the host's"
        return
    for port, has, needs in zip("ab", (machine.a_formats, machine.b_formats), ports_at(recipe, place), strict=True):
        missing = [fmt.name for fmt in needs if fmt not in has]
        if missing:
            yield f"{port}_formats lack {', '.join(missing)}"
    if not machine.s2fp8 and any(isinstance(cast.scaling, Squeeze) for cast in operands_at(recipe, place)):
        yield "s2fp8 is false"
    for field in ("inner", "outer", "chunk"):
        has, needs = getattr(machine, field), getattr(recipe, field)
        if has != needs:
            yield f"{field} is {has}, not {needs}"


def fitted(recipe: Recipe, machine: Machine) -> Machine:
    """The machine with the operand formats and the sums that all layers of a recipe ask for.

    Raises
    ------
    Unsuitable
        If there is no such machine: for recipes of the host, and for aligned sums.
    ValueError
        If the recipe's chunk does not fit the machine's rows.
    """
    if recipe.host or isinstance(recipe.inner, AlignedSum):
        raise Unsuitable(f"recipe must be one whose products an array computes, not {recipe.name}")
    ports = [ports_at(recipe, place) for place in PLACES]
    left, right = (tuple(dict.fromkeys(fmt for port in ports for fmt in port[side])) for side in (0, 1))
    casts = (cast for place in PLACES for cast in operands_at(recipe, place))
    written = tuple(dict.fromkeys(fmt for fmt in (*left, *right) if fmt != BF16))
    return replace(
        machine,
        name=f"{machine.name}_{recipe.name}",
        a_formats=left,
        b_formats=right,
        inner=recipe.inner,
        outer=recipe.outer,
        chunk=recipe.chunk,
        output_formats=written or machine.output_formats,
        s2fp8=any(isinstance(cast.scaling, Squeeze) for cast in casts),
    )
