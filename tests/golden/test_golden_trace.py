"""Descriptions of traces: what is written is read back, and what is wrong is named."""

import json
from dataclasses import replace

import pytest

from quaver.golden import (
    BLACKWELL_FP8,
    PRESETS,
    RNE,
    Accumulator,
    Arithmetic,
    ArrayWords,
    ExactSum,
    Issued,
    Machine,
    sr,
)
from quaver.golden.catalog import BF16, E4M3, E5M2, FP16, FP32
from quaver.golden.scaling import with_bias
from quaver.golden.trace import TraceEntry, TraceHead

TINY = PRESETS["tiny"]
STOCHASTIC = Machine(
    name="s",
    rows=2,
    chunk=4,
    inner=Accumulator(format=FP16, rounding=sr(5), overflow="saturate"),
    outer=Accumulator(format=FP32),
    seed=77,
)
HEADS = [
    TraceHead(recipe="hybrid", model="lenet5", machine=TINY, arithmetic=TINY.arithmetic()),
    TraceHead(recipe="wang2018", model="ncf", machine=STOCHASTIC, arithmetic=STOCHASTIC.arithmetic()),
    TraceHead(
        recipe="bf16",
        model="m",
        machine=None,
        arithmetic=Arithmetic(inner=ExactSum(), outer=Accumulator(rounding=sr(9))),
    ),
]
ENTRY = TraceEntry(
    file="000012.npz",
    step=3,
    layer="conv1",
    phase="weight_gradient",
    a_format=E5M2,
    b_format=BF16,
    m=6,
    k=1568,
    n=25,
    groups=2,
    issued=Issued(1 << 40, 12),
)


@pytest.mark.parametrize("head", HEADS, ids=[head.recipe for head in HEADS])
def test_heads_are_read_back(head: TraceHead) -> None:
    assert TraceHead.from_dict(json.loads(json.dumps(head.to_dict()))) == head


def test_entries_are_read_back() -> None:
    table = json.loads(json.dumps(ENTRY.to_dict()))
    assert table["a_format"] == "e5m2" and table["issued"] == [1 << 40, 12]
    assert TraceEntry.from_dict(table) == ENTRY


def test_what_follows_from_them() -> None:
    """Which words there are, and what a product's file holds."""
    assert [head.stochastic for head in HEADS] == [False, True, True]
    assert [head.law for head in HEADS] == [
        ArrayWords.of(TINY),
        ArrayWords.of(STOCHASTIC),
        ArrayWords.reference(HEADS[2].arithmetic),
    ]
    assert ENTRY.macs == 2 * 6 * 1568 * 25
    arithmetic = ENTRY.arithmetic(HEADS[1])
    assert (arithmetic.a, arithmetic.b) == (E5M2, BF16)
    assert replace(arithmetic, a=E4M3, b=E4M3) == HEADS[1].arithmetic
    expected = {"a": (E5M2, (2, 6, 1568)), "b": (BF16, (2, 1568, 25)), "y": (FP32, (2, 6, 25))}
    assert ENTRY.arrays(HEADS[1]) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quaver_trace": 2}, "quaver_trace must be one of 1, not 2"),
        ({"recipe": ""}, "recipe must be a text that is not empty, not ''"),
        ({"model": None}, "model must be a text that is not empty, not None"),
        ({"machine": 3}, "machine must be an object or null, not 3"),
        ({"machine": {"rows": 0}}, "rows must be an integer in 1..1024, not 0"),
        ({"arithmetic": []}, "arithmetic must be an object, not []"),
        ({"more": 1}, "key of trace must be one of quaver_trace, recipe, model, machine, arithmetic, not 'more'"),
    ],
    ids=str,
)
def test_wrong_heads(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        TraceHead.from_dict(HEADS[0].to_dict() | changes)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk": 8}, "arithmetic.chunk must be the machine's, 4, not 8"),
        ({"seed": 1}, "arithmetic.seed must be the machine's, 0, not 1"),
        ({"inner": "exact"}, "arithmetic.inner must be the machine's, dlfloat16 rne, not exact"),
        ({"inner": "aligned"}, "arithmetic.inner must be a table or \"exact\", not 'aligned'"),
        ({"outer": {"format": "fp7"}}, "arithmetic.outer.format must be one of "),
        ({"chunk": "4"}, "chunk must be an integer in 1..1048576, not '4'"),
    ],
    ids=str,
)
def test_wrong_sums(changes: dict[str, object], message: str) -> None:
    table = HEADS[0].to_dict()
    sums = table["arithmetic"]
    assert isinstance(sums, dict)
    with pytest.raises(ValueError) as caught:
        TraceHead.from_dict(table | {"arithmetic": sums | changes})
    assert str(caught.value).startswith(message)


def test_sums_that_no_machine_has() -> None:
    with pytest.raises(
        ValueError, match=r"^arithmetic\.inner must be a sum that machines have, rounded or exact, not "
    ):
        TraceHead(recipe="r", model="m", machine=None, arithmetic=BLACKWELL_FP8)


def test_missing_keys() -> None:
    for what, read, table in (
        ("trace", TraceHead.from_dict, HEADS[0].to_dict()),
        ("product", TraceEntry.from_dict, ENTRY.to_dict()),
    ):
        for key in table:
            with pytest.raises(ValueError, match=f"^{key} of {what} is missing$"):
                read({name: value for name, value in table.items() if name != key})
        with pytest.raises(ValueError, match=rf"^{what} must be an object, not \[\]$"):
            read([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "../000012.npz"}, "file must be a name of digits and .npz, not '../000012.npz'"),
        ({"file": 12}, "file must be a name of digits and .npz, not 12"),
        ({"step": -1}, "step must be an integer in 0..281474976710656, not -1"),
        ({"layer": ""}, "layer must be a text that is not empty, not ''"),
        ({"phase": "update"}, "phase must be one of forward, data_gradient, weight_gradient, not 'update'"),
        ({"a_format": "fp7"}, "a_format must be one of "),
        ({"b_format": ["e4m3"]}, "b_format must be one of "),
        ({"m": 0}, "m must be an integer in 1..281474976710656, not 0"),
        ({"k": 2.5}, "k must be an integer in 1..281474976710656, not 2.5"),
        ({"n": True}, "n must be an integer in 1..281474976710656, not True"),
        ({"groups": 0}, "groups must be an integer in 1..281474976710656, not 0"),
        ({"issued": [1]}, "issued must be a list of beats and sums, not [1]"),
        ({"issued": [1, -1]}, "issued sums must be an integer in 0..281474976710656, not -1"),
        ({"scale": 1}, "key of product must be one of file, step, layer, "),
    ],
    ids=str,
)
def test_wrong_entries(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        TraceEntry.from_dict(ENTRY.to_dict() | changes)
    assert str(caught.value).startswith(message)


def test_formats_must_be_named_ones() -> None:
    for fmt in (with_bias(E4M3, 5), replace(E4M3, bias=5)):
        with pytest.raises(ValueError, match=r"^b_format must be "):
            replace(ENTRY, b_format=fmt)


def test_the_machine_adds_up_as_the_trace() -> None:
    with pytest.raises(ValueError, match=r"^arithmetic\.outer must be the machine's, dlfloat16 rne, not fp32 rne$"):
        replace(HEADS[0], arithmetic=replace(HEADS[0].arithmetic, outer=Accumulator(format=FP32, rounding=RNE)))
