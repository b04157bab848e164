"""Payloads of the array's streams.  Handshakes follow the rules of Amaranth's `amaranth.lib.stream`."""

from amaranth.lib import data

from quaver.golden import Format, Machine


def code_bits(formats: tuple[Format, ...]) -> int:
    """Width of a lane that carries codes of any of `formats`."""
    return max(f.bits for f in formats)


def choice(formats: tuple[Format, ...]) -> dict[str, int]:
    """Member `format`, an index into `formats`; none where there is nothing to choose."""
    return {"format": (len(formats) - 1).bit_length()} if len(formats) > 1 else {}


def has_choice(value: data.View) -> bool:
    """Whether a beat or a lane has a `format`."""
    return any(name == "format" for name, _ in value.shape())


def weight_beat(machine: Machine) -> data.StructLayout:
    """One column of a weight tile; a tile is `columns` beats, column 0 first.

    `codes`: a weight for each row.  `format`: index into `Machine.stationary_formats`.  `depth`: rows that the tile
    uses, at least 1; the weights of further rows are ignored, and their products are -0.
    """
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(code_bits(machine.stationary_formats), machine.rows),
            **choice(machine.stationary_formats),
            "depth": machine.rows.bit_length(),
        }
    )


def activation_beat(machine: Machine) -> data.StructLayout:
    """One row of an activation tile; a tile is 1 to `accumulator_depth` beats.

    `codes`: an activation for each row of the array, +0 (code 0) in the rows that the tile does not use.  `format`:
    index into `Machine.moving_formats`.  `start`: first beat of a tile, from which on the tile's weights are in force.
    `first`, `last`: the tile is the first, the last of its K chain; the sums of the last one leave the array.
    """
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(code_bits(machine.moving_formats), machine.rows),
            **choice(machine.moving_formats),
            "start": 1,
            "first": 1,
            "last": 1,
        }
    )


WAITING = data.StructLayout({"operand": 1, "sums": 1, "results": 1})
"""Why the moving operand's beat on offer is not accepted: the stationary operand's tile is not there, or the sums that
it adds to are not, or there is no room for its result.  At most one bit, the first that applies."""


def os_weight_beat(machine: Machine) -> data.StructLayout:
    """The weights of one k step of an output-stationary array.

    `codes`: a weight for each column.  `format`: index into `Machine.stationary_formats`.
    """
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(code_bits(machine.stationary_formats), machine.columns),
            **choice(machine.stationary_formats),
        }
    )


def os_activation_beat(machine: Machine) -> data.StructLayout:
    """The activations of one slot in one k step of an output-stationary array; a k step is `interleave` beats.

    `codes`: an activation for each row of the array; in beat s row r gets that of row r * `interleave` + s of the tile,
    any code where the tile has no such row.  `format`: index into `Machine.moving_formats`.  `rows`: rows of the
    tile, 1 to `block_rows`.  `first`, `last`: the k step is the first, the last of its chain; the sums of the last
    one leave the array.
    """
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(code_bits(machine.moving_formats), machine.rows),
            **choice(machine.moving_formats),
            "rows": machine.block_rows.bit_length(),
            "first": 1,
            "last": 1,
        }
    )


def sum_beat(machine: Machine) -> data.ArrayLayout:
    """One row of results: a code of the outer accumulator's format for each column."""
    return data.ArrayLayout(machine.outer.format.bits, machine.columns)
