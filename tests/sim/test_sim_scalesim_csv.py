"""Topologies as SCALE-Sim's own files have them, and what is refused."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quaver.sim.layers import Conv2d, Linear
from quaver.sim.scalesim_csv import TopologyRow, layer_of, read_topology

DATA = Path(__file__).parent / "data/scalesim"
CONV = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
GEMM = "Layer, M, N, K,\n"
STEM = TopologyRow(name="stem", ifmap=(224, 220), filter=(7, 5), channels=3, filters=64, stride=(2, 2))
FC = TopologyRow(name="fc", ifmap=(1, 1), filter=(1, 1), channels=512, filters=1000)
PRODUCT = TopologyRow(name="q k", ifmap=(196, 384), filter=(1, 384), channels=1, filters=64, gemm=True)


def read(tmp_path: Path, text: str) -> tuple[TopologyRow, ...]:
    path = tmp_path / "net.csv"
    path.write_bytes(text.encode())
    return read_topology(path)


def test_published_resnet18() -> None:
    """Its 21 layers have 1.471 GMAC: no padding, in sizes nor in words."""
    rows = read_topology(DATA / "Resnet18.csv")
    assert len(rows) == 21
    assert rows[0] == TopologyRow(name="Conv1", ifmap=(224, 224), filter=(7, 7), channels=3, filters=64, stride=(2, 2))
    assert rows[-1] == TopologyRow(name="FC", ifmap=(1, 1), filter=(1, 1), channels=512, filters=1000)
    assert (rows[0].ofmap, rows[0].m, rows[0].k, rows[0].n) == ((110, 110), 12100, 147, 64)
    assert round(sum(row.m * row.k * row.n for row in rows) / 1e9, 3) == 1.471
    assert not any(row.gemm for row in rows)


PLAIN = "stem,224,220,7,5,3,64,2,\nfc,1,1,1,1,512,1000,1,\n"
SPELLINGS = {
    "as its own": CONV + PLAIN,
    "no comma at the end": CONV + PLAIN.replace(",\n", "\n"),
    "no line end": CONV + PLAIN.rstrip("\n"),
    "CRLF": (CONV + PLAIN).replace("\n", "\r\n"),
    "byte-order mark": "\ufeff# a network\n" + CONV + PLAIN,
    "blank lines": "\n" + CONV + "\n \n,,,\n" + PLAIN.replace("fc", "\n\nfc") + "\n\n",
    "spaces": CONV + PLAIN.replace(",", "  ,\t "),
    "comments": "# a network\n" + CONV + "# its stem, so to say\n" + PLAIN.replace(",\n", ",#dw\n") + "#end",
    "words behind": CONV.replace(",\n", ",, Target\n") + PLAIN.replace(",\n", ", NPU\n"),
    "a word behind a sparsity": CONV + PLAIN.replace(",\n", ",1,1:1, NPU,\n").replace("2,1,1:1", "2,2,1:1"),
    "another header": "net,h,w,r,s,c,k,u\n" + PLAIN,
    "one more comma": CONV + PLAIN.replace(",\n", ",,\n"),
    "a short header": "my network\n" + PLAIN,
    "batch of 1": CONV.replace(",\n", ", Batch Size,\n") + PLAIN.replace(",\n", ",1,\n"),
    "batch not given": CONV.replace(",\n", ", Batch Size,\n") + PLAIN,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_convolutions(tmp_path: Path, spelling: str) -> None:
    assert read(tmp_path, SPELLINGS[spelling]) == (STEM, FC)


@pytest.mark.parametrize(
    "text",
    [
        GEMM + "q k,196,64,384,\n",
        "Layer,M,N,K\nq k,196,64,384",
        "layer name, m, n, k\r\nq k , 196,\t64 , 384 ,\r\n\r\n",
        "what,rows,columns,depth\nq k,196,64,384,#all heads\n",
        "Layer, M, N, K, Sparsity,\nq k,196,64,384,1,\n",
        "Layer, M, N, K, Sparsity, Batch,\nq k,196,64,384,,1,\n",
    ],
)
def test_spellings_of_products(tmp_path: Path, text: str) -> None:
    """A GEMM is the convolution of an M x K image with N filters of 1 x K."""
    (row,) = read(tmp_path, text)
    assert row == PRODUCT
    assert (row.ofmap, row.m, row.n, row.k) == ((196, 1), 196, 64, 384)


def test_columns_behind_those_of_the_form(tmp_path: Path) -> None:
    titled = CONV.replace("Strides,", "Stride height, Stride width, Sparsity,")
    for header, cells, stride, sparsity in (
        (CONV, "2,2", (2, 2), (1, 1)),
        (CONV, "2,3,", (2, 3), (1, 1)),
        (CONV.replace(",\n", ", Sparsity,\n"), "2,1,", (2, 2), (1, 1)),
        (CONV.replace(",\n", ", Sparsity,\n"), "2,2:4,", (2, 2), (2, 4)),
        (CONV, "2, 2:4", (2, 2), (2, 4)),
        (titled, "2,3,1:4,", (2, 3), (1, 4)),
        (titled, "2,,1:4,", (2, 2), (1, 4)),
    ):
        (row,) = read(tmp_path, f"{header}x,9,9,3,3,4,8,{cells}\n")
        assert (row.stride, row.sparsity) == (stride, sparsity)
    (row,) = read(tmp_path, GEMM + "x,9,8,7,2:4,\n")
    assert (row.m, row.n, row.k, row.sparsity) == (9, 8, 7, (2, 4))


def test_depthwise_rows(tmp_path: Path) -> None:
    """`DP` in a convolution's name: each channel for itself, with all the filters.  In a product's it says nothing."""
    (row,) = read(tmp_path, CONV + "Conv2_DP,7,6,3,3,4,2,2,\n")
    assert (row.groups, row.channels, row.n, row.k) == (4, 1, 2, 9)
    assert layer_of(row) == Conv2d(
        name="Conv2_DP", in_channels=4, out_channels=8, size=(7, 6), kernel=(3, 3), stride=(2, 2), groups=4
    )
    (row,) = read(tmp_path, GEMM + "MLDP,7,6,3,\n")
    assert (row.groups, row.m, row.n, row.k) == (1, 7, 6, 3)


def test_names_become_unique(tmp_path: Path) -> None:
    names = ["a", "b", "a", "a#2", "a", "b", "a#2"]
    rows = read(tmp_path, GEMM + "".join(f"{name},1,2,3,\n" for name in names))
    assert [row.name for row in rows] == ["a", "b", "a#3", "a#2", "a#4", "b#2", "a#2#2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " must have a header line (Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, "
             "Num Filter, Strides, or Layer, M, N, K) and at least one layer below it"),
        (CONV, " must have a header line (Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, "
               "Channels, Num Filter, Strides, or Layer, M, N, K) and at least one layer below it"),
        (CONV + "\nx,9,9,3,3,4,8,\n", ", line 3: Strides is missing: the columns must be Layer name, IFMAP Height, "
                                      "IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides"),
        (CONV + "Recommendation,\n", ", line 2: IFMAP Height is missing: the columns must be Layer name, IFMAP Height, "
                                     "IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides"),
        (GEMM + "x,1,2\n", ", line 2: K is missing: the columns must be Layer, M, N, K"),
        (GEMM + "x;1;2;3\n", ", line 2: M is missing: the columns must be Layer, M, N, K"),
        (CONV + "x,9,9,3,3,4,8,0\n", ", line 2: Strides must be an integer in 1..16777216, not 0"),
        (CONV + "x,9,9,3,3,-4,8,1\n", ", line 2: Channels must be an integer in 1..16777216, not '-4'"),
        (CONV + "x,9,9,3,3,4,,1\n", ", line 2: Num Filter must be an integer in 1..16777216, not ''"),
        (CONV + "x,9,9,3,3,4,8,1\ny,9,8.0,3,3,4,8,1",
         ", line 3: IFMAP Width must be an integer in 1..16777216, not '8.0'"),
        (CONV + "x,9,8,10,3,4,8,1\n", ", line 2: Filter Height must be an integer in 1..9, not 10"),
        (CONV + "x,9,8,9,9,4,8,1\n", ", line 2: Filter Width must be an integer in 1..8, not 9"),
        (CONV + ",9,9,3,3,4,8,1\n", ", line 2: Layer name must not be empty"),
        (GEMM + "x,1,2,m\n", ", line 2: K must be an integer in 1..16777216, not 'm'"),
        (GEMM + "x,1,16777217,1\n", ", line 2: N must be an integer in 1..16777216, not 16777217"),
        (GEMM + "x,1,two\n", ", line 2: K is missing: the columns must be Layer, M, N, K"),
        (GEMM + "x,1,2,three\n", ", line 2: K must be an integer in 1..16777216, not 'three'"),
        (GEMM + "x,1,2,3,2x\n", ", line 2: column 5 must be a sparsity N:M, 1 or empty, not '2x'"),
        (GEMM + "x,1,2,3,8\n", ", line 2: column 5 must be a sparsity N:M, 1 or empty, not '8'"),
        (CONV.replace(",\n", ", Batch,\n") + "x,9,9,3,3,4,8,1,16\n",
         ", line 2: Batch must be a sparsity N:M, 1 or empty, not '16'"),
        (CONV + "x,9,9,3,3,4,8,1,1,2\n", ", line 2: column 10 must be a sparsity N:M, 1 or empty, not '2'"),
        (CONV + "x,9,9,3,3,4,8,1,4:2\n", ", line 2: N of the sparsity N:M must be an integer in 1..2, not 4"),
        (CONV + "x,9,9,3,3,4,8,1,2:\n", ", line 2: M of column 9 must be an integer in 1..16777216, not ''"),
        (CONV + "x,9,9,3,3,4,8,1,1,2:4,5\n", ", line 2: columns must be 8 to 10 in number, not 11"),
        ("x,1,2,3\ny,1,2,3\n", ", line 1: a header must come before the layers: Layer, M, N, K"),
        ("Layer,M,K,N\nx,1,2,3\n", ", line 1: the columns must be in the order Layer, M, N, K, not Layer, M, K, N"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / 'net.csv') + message)}$"):
        read(tmp_path, text)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    path.write_bytes(CONV.encode("utf-16"))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} must be UTF-8 text$"):
        read_topology(path)
    with pytest.raises(FileNotFoundError):
        read_topology(tmp_path / "none.csv")


def test_layers_of_rows() -> None:
    assert layer_of(STEM) == Conv2d(
        name="stem", in_channels=3, out_channels=64, size=(224, 220), kernel=(7, 5), stride=(2, 2)
    )
    assert layer_of(PRODUCT) == Linear(name="q k", in_features=384, out_features=64, rows=196, bias=False)
    assert layer_of(PRODUCT).macs == 196 * 64 * 384


def test_padding_is_part_of_the_input() -> None:
    conv = Conv2d(name="x", in_channels=5, out_channels=7, size=(9, 8), kernel=(3, 3), stride=(2, 1), padding=(1, 2))
    row = TopologyRow(name="x", ifmap=(11, 12), filter=(3, 3), channels=5, filters=7, stride=(2, 1))
    assert row.ofmap == conv.output_size == (5, 10)
    assert row.m * row.k * row.n == conv.macs


sizes = st.integers(1, 40)


@given(st.lists(st.tuples(sizes, sizes, sizes, sizes, sizes, sizes, st.integers(1, 5)), min_size=1), st.data())
def test_convolutions_come_back(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, ...]], data: st.DataObject
) -> None:
    """Outputs are those that start within the input less the filter, and one more where that is not a stride's end."""
    rows = [
        TopologyRow(
            name=f"x{number}",
            ifmap=(r + height - 1, s + width - 1),
            filter=(r, s),
            channels=channels,
            filters=filters,
            stride=(stride, data.draw(st.integers(1, 5))),
        )
        for number, (r, s, height, width, channels, filters, stride) in enumerate(shapes)
    ]
    lines = [
        f"{row.name},{row.ifmap[0]},{row.ifmap[1]},{row.filter[0]},{row.filter[1]},{row.channels},{row.filters},"
        f"{row.stride[0]},{row.stride[1]},\n"
        for row in rows
    ]
    path = tmp_path_factory.mktemp("topology") / "net.csv"
    path.write_text(CONV + "".join(lines), encoding="utf-8")
    assert list(read_topology(path)) == rows
    for row in rows:
        layer = layer_of(row)
        assert isinstance(layer, Conv2d)
        assert layer.weights == row.k * row.n
        for axis in (0, 1):
            rest = (row.ifmap[axis] - row.filter[axis]) % row.stride[axis]
            assert row.ofmap[axis] == layer.output_size[axis] + (rest > 0)
