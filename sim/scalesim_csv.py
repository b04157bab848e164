"""Topologies in SCALE-Sim's comma-separated form: convolutions by their shapes, or matrix products by theirs.

What is read is what SCALE-Sim 3.0.0 reads (`scalesim/topology_utils.py` of github.com/scalesim-project/SCALE-Sim), by
position, whatever the header calls the columns; more is accepted where it cannot be misunderstood:

- rows with or without the comma at the end (SCALE-Sim drops whatever stands behind the last one), blank lines, lines
  that begin with `#`, a byte-order mark, and behind all numbers a word, such as the `#dw` and `NPU` of its own files;
- the form by the number of columns, which SCALE-Sim is told on its command line: `Layer, M, N, K` or
  `Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides`;
- behind these a sparsity `N:M`, and of a convolution a stride of its own along the width, as version 2 wrote it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_letters

from quaver.golden.errors import check_range
from quaver.sim.layers import Conv2d, Linear, Pair

CONV_COLUMNS = (
    "Layer name",
    "IFMAP Height",
    "IFMAP Width",
    "Filter Height",
    "Filter Width",
    "Channels",
    "Num Filter",
    "Strides",
)
"""Columns of the convolution form, in their order."""
GEMM_COLUMNS = ("Layer", "M", "N", "K")
"""Columns of the GEMM form, in their order."""
_FORMS = f"{', '.join(CONV_COLUMNS)}, or {', '.join(GEMM_COLUMNS)}"
_EXTRA = 2
"""Columns that there may be behind those."""
_WORD_STARTS = f"#{ascii_letters}"
_MAX = 1 << 24  # what a layer may have


@dataclass(frozen=True, kw_only=True)
class TopologyRow:
    """One row of a topology, in SCALE-Sim's terms.

    A GEMM is the convolution that SCALE-Sim makes of it: an input of M x K, and N filters of 1 x K with one channel.

    Raises
    ------
    ValueError
        If the name is empty, a number is out of its range, or the filter exceeds the input.
    """

    name: str
    """Name in reports, unique in a topology."""
    ifmap: Pair
    """Height and width of the input, in which SCALE-Sim counts padding, if any."""
    filter: Pair
    """Height and width of a filter."""
    channels: int
    """Channels of the input that a filter sees."""
    filters: int
    """Filters, of each group."""
    stride: Pair = (1, 1)
    """Steps between outputs."""
    groups: int = 1
    """Convolutions of this shape, with channels and filters of their own: the channels of a depthwise row."""
    sparsity: Pair = (1, 1)
    """N of each M weights are not zero; carried along, for the model is that of dense weights."""
    gemm: bool = False
    """Whether it was written as a matrix product."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(f"{CONV_COLUMNS[0]} must not be empty")
        for axis, side in enumerate(("Height", "Width")):
            check_range(f"IFMAP {side}", self.ifmap[axis], 1, _MAX)
            check_range(f"Filter {side}", self.filter[axis], 1, self.ifmap[axis])
            check_range("Strides", self.stride[axis], 1, _MAX)
        check_range("Channels", self.channels, 1, _MAX)
        check_range("Num Filter", self.filters, 1, _MAX)
        check_range("groups", self.groups, 1, _MAX)
        check_range("M of the sparsity N:M", self.sparsity[1], 1, _MAX)
        check_range("N of the sparsity N:M", self.sparsity[0], 1, self.sparsity[1])

    @property
    def ofmap(self) -> Pair:
        """Height and width of the output by SCALE-Sim's rule: one more than fit wherever the stride leaves a rest."""
        height, width = (
            -(-(size - taps + step) // step)
            for size, taps, step in zip(self.ifmap, self.filter, self.stride, strict=True)
        )
        return height, width

    @property
    def m(self) -> int:
        """Outputs of one filter."""
        return self.ofmap[0] * self.ofmap[1]

    @property
    def k(self) -> int:
        """Products per output."""
        return self.filter[0] * self.filter[1] * self.channels

    @property
    def n(self) -> int:
        """Filters of one group."""
        return self.filters


def read_topology(path: Path) -> tuple[TopologyRow, ...]:
    """Read a topology; a name that comes again gets a number, `conv` and then `conv#2`.

    A convolution whose name has `DP` in it is depthwise: SCALE-Sim runs each of its channels as a layer of its own,
    with all of the filters, which here are groups of one row.

    Raises
    ------
    ValueError
        For what is no such topology, naming file, line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} must be UTF-8 text") from None
    lines = [(number, cells) for number, line in enumerate(text.splitlines(), start=1) if (cells := _cells(line))]
    if len(lines) < 2:
        raise ValueError(f"{path} must have a header line ({_FORMS}) and at least one layer below it")
    (_, header), (_, first) = lines[:2]
    columns = CONV_COLUMNS if max(len(header), len(first)) > len(GEMM_COLUMNS) + _EXTRA else GEMM_COLUMNS
    rows = []
    for number, cells in lines:
        try:
            if cells is header:
                _check_header(header, columns)
            else:
                rows.append(_row(cells, columns, header))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return tuple(_uniquely_named(rows))


def layer_of(row: TopologyRow) -> Conv2d | Linear:
    """The row as a layer of this project: a fully connected one for a GEMM, otherwise a convolution without padding.

    Where a stride leaves a rest, the convolution has an output less along that side than SCALE-Sim counts: that one's
    filter would stand over the input's edge.

    Raises
    ------
    ValueError
        If the channels or filters of all groups together are too many for a layer.
    """
    if row.gemm:
        return Linear(name=row.name, in_features=row.k, out_features=row.n, rows=row.m, bias=False)
    return Conv2d(
        name=row.name,
        in_channels=row.groups * row.channels,
        out_channels=row.groups * row.filters,
        size=row.ifmap,
        kernel=row.filter,
        stride=row.stride,
        groups=row.groups,
    )


def _cells(line: str) -> list[str]:
    """The fields of a line, without the empty ones at its end; none of a comment."""
    cells = [] if line.lstrip().startswith("#") else [cell.strip() for cell in line.split(",")]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _check_header(header: list[str], columns: tuple[str, ...]) -> None:
    """The first line is never a layer, and its words only matter where they contradict the order of the columns."""
    sizes = header[1 : len(GEMM_COLUMNS)]
    if sizes and all(cell.isdecimal() for cell in sizes):
        raise ValueError(f"a header must come before the layers: {', '.join(columns)}")
    order, named = list(GEMM_COLUMNS[1:]), [cell.upper() for cell in sizes]
    if columns is GEMM_COLUMNS and named != order and sorted(named) == sorted(order):
        raise ValueError(f"the columns must be in the order {', '.join(columns)}, not {', '.join(header)}")


def _row(cells: list[str], columns: tuple[str, ...], header: Sequence[str]) -> TopologyRow:
    if len(cells) > len(columns) and cells[-1][0] in _WORD_STARTS:
        cells = cells[:-1]
    if len(cells) < len(columns):
        raise ValueError(f"{columns[len(cells)]} is missing: the columns must be {', '.join(columns)}")
    if len(cells) > len(columns) + _EXTRA:
        raise ValueError(f"columns must be {len(columns)} to {len(columns) + _EXTRA} in number, not {len(cells)}")
    name, sizes = cells[0], [_number(column, cell) for column, cell in zip(columns[1:], cells[1:], strict=False)]
    if columns is GEMM_COLUMNS:
        m, n, k = sizes
        row = TopologyRow(name=name, ifmap=(m, k), filter=(1, k), channels=1, filters=n, gemm=True)
    else:
        height, width, filter_height, filter_width, channels, filters, stride = sizes
        row = TopologyRow(
            name=name,
            ifmap=(height, width),
            filter=(filter_height, filter_width),
            channels=1 if "DP" in name else channels,
            filters=filters,
            stride=(stride, stride),
            groups=channels if "DP" in name else 1,
        )
    for place in range(len(columns), len(cells)):
        row = _with_extra(row, place, cells[place], header[place] if place < len(header) else "")
    return row


def _with_extra(row: TopologyRow, place: int, cell: str, title: str) -> TopologyRow:
    """The row with what stands in a column behind those of its form."""
    column = title or f"column {place + 1}"
    if ":" in cell:
        nonzero, _, of = cell.partition(":")
        return replace(row, sparsity=(_number(f"N of {column}", nonzero), _number(f"M of {column}", of)))
    if cell and place == len(CONV_COLUMNS) and (not title or "stride" in title.lower()):
        return replace(row, stride=(row.stride[0], _number(column, cell)))
    if cell not in ("", "1"):  # a batch, or a sparsity that is none
        raise ValueError(f"{column} must be a sparsity N:M, 1 or empty, not {cell!r}")
    return row


def _number(column: str, cell: str) -> int:
    value = int(cell) if cell.isdecimal() else cell
    check_range(column, value, 1, _MAX)
    return int(value)


def _uniquely_named(rows: Sequence[TopologyRow]) -> Iterator[TopologyRow]:
    taken = {row.name for row in rows}
    seen: set[str] = set()
    for row in rows:
        name, count = row.name, 1
        while name in seen or (count > 1 and name in taken):
            count += 1
            name = f"{row.name}#{count}"
        seen.add(name)
        yield replace(row, name=name)
