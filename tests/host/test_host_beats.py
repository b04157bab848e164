"""Packets of operands and results, written out by hand for tiny cases."""

from dataclasses import replace

import numpy as np
import pytest

from quaver.golden import PRESETS, Accumulator, Machine
from quaver.golden.catalog import BF16, E4M3, E5M2, FP32
from quaver.golden.commands import Matmul
from quaver.host.beats import (
    a_bytes,
    a_packet,
    b_bytes,
    b_packet,
    lane_bytes,
    result_bytes,
    results,
    update_bytes,
    update_packet,
    updated,
)

WS = Machine(rows=2, columns=3, chunk=2, accumulator_depth=4, update_lanes=2)
IS = replace(WS, dataflow="is", a_formats=(BF16,), b_formats=(E5M2,))
OS = replace(WS, dataflow="os", mac_depth=2)


def packet(*beats: str) -> list[list[int]]:
    """Beats of hexadecimal bytes, lowest first."""
    return [list(bytes.fromhex(beat)) for beat in beats]


def matmul(rows: int, columns: int, tiles: int, depth: int, **fields: int) -> Matmul:
    return Matmul(rows=rows, columns=columns, tiles=tiles, depth=depth, **fields)


def test_lanes() -> None:
    assert [lane_bytes(formats) for formats in ((E4M3,), (E4M3, BF16), (FP32, E4M3))] == [1, 2, 4]
    assert (a_bytes(WS), b_bytes(WS), result_bytes(WS)) == (2, 3, 6)
    assert (a_bytes(IS), b_bytes(IS), result_bytes(IS)) == (2, 6, 6)
    assert (a_bytes(OS), b_bytes(OS), result_bytes(OS)) == (2, 3, 6)
    tall = replace(WS, rows=4, chunk=4, outer=Accumulator(format=FP32))
    assert (a_bytes(tall), b_bytes(tall), result_bytes(tall)) == (4, 4, 12)
    assert b_bytes(replace(tall, dataflow="os")) == 3
    assert update_bytes(WS) == 4


def test_the_a_operand_comes_by_tiles() -> None:
    """3 rows of 3 products: the second tile has one, and the place of the other is 0."""
    a = np.array([[0x11, 0x12, 0x13], [0x21, 0x22, 0x23], [0x31, 0x32, 0x33]])
    assert a_packet(WS, matmul(3, 2, 2, 1), a).tolist() == packet("1112", "2122", "3132", "1300", "2300", "3300")


def test_the_b_operand_comes_by_columns() -> None:
    """3 products of 2 columns, on 3 lanes of which a column of the array needs 2."""
    b = np.array([[0x11, 0x12], [0x21, 0x22], [0x31, 0x32]])
    assert b_packet(WS, matmul(1, 2, 2, 1), b).tolist() == packet("112100", "122200", "310000", "320000")


def test_transposed_the_b_operand_comes_by_rows() -> None:
    b = np.array([[0x11, 0x12], [0x21, 0x22], [0x31, 0x32]])
    assert b_packet(WS, matmul(1, 2, 2, 1, transposed=True), b).tolist() == packet("111200", "212200", "313200")


def test_the_ports_of_an_input_stationary_machine() -> None:
    """The a port has the lanes of B^T, in E5M2, and the b port those of A^T, in BF16: two bytes, little end first."""
    b_transposed, a_transposed = np.array([[0x11, 0x12, 0x13]]), np.array([[0x0102], [0x0304], [0x0506]])
    assert a_packet(IS, matmul(1, 1, 2, 1), b_transposed).tolist() == packet("1112", "1300")
    assert b_packet(IS, matmul(1, 1, 2, 1), a_transposed).tolist() == packet("020104030000", "060500000000")


def test_an_output_stationary_machine_takes_a_product_at_a_time() -> None:
    """2 rows of PEs with 2 sums each: lane r of beat s has row 2 r + s; of 3 rows the fourth is 0."""
    a = np.array([[0x11, 0x12], [0x21, 0x22], [0x31, 0x32]])
    assert a_packet(OS, matmul(3, 1, 2, 1), a).tolist() == packet("1131", "2100", "1232", "2200")
    b = np.array([[0x11, 0x12], [0x21, 0x22]])
    assert b_packet(OS, matmul(3, 2, 2, 1), b).tolist() == packet("111200", "212200")


@pytest.mark.parametrize("machine", [WS, IS, OS], ids=lambda m: m.dataflow)
def test_results_of_two_bytes_and_of_one(machine: Machine) -> None:
    command = matmul(2, 3, 1, 1)
    assert results(machine, command, bytes.fromhex("010203040506 111213141516")).tolist() == [
        [0x0201, 0x0403, 0x0605],
        [0x1211, 0x1413, 0x1615],
    ]
    narrow = replace(command, target=1, columns=2)
    assert results(machine, narrow, bytes.fromhex("8102 0304")).tolist() == [[0x81, 0x02], [0x03, 0x04]]


def test_results_of_four_bytes() -> None:
    machine = replace(WS, outer=Accumulator(format=FP32))
    codes = results(machine, matmul(1, 2, 1, 1), bytes.fromhex("0000803f 000080bf"))
    assert codes.tolist() == [[0x3F800000, 0xBF800000]]


@pytest.mark.parametrize("length", [0, 11, 13])
def test_results_of_another_length(length: int) -> None:
    with pytest.raises(ValueError, match=rf"^packet of results must be of 12 bytes, not {length}$"):
        results(WS, matmul(2, 3, 1, 1), bytes(length))


def test_results_are_the_inverse_of_lanes() -> None:
    rng = np.random.default_rng(1)
    compared = 0
    for machine in (*PRESETS.values(), replace(WS, outer=Accumulator(format=FP32), output_formats=(BF16, E4M3))):
        for target, fmt in enumerate(machine.result_formats):
            command = matmul(3, machine.columns, 1, 1, target=target)
            codes = rng.integers(0, 1 << fmt.bits, (3, machine.columns))
            width = lane_bytes((fmt,))
            sent = b"".join(int(code).to_bytes(width, "little") for code in codes.ravel())
            np.testing.assert_array_equal(results(machine, command, sent), codes)
            compared += codes.size
    assert compared > 2000


def test_elements_of_an_update() -> None:
    """Two beats of two lanes: weights lowest, then velocities, then gradients."""
    weights, velocities = [[0x0102, 0x0304], [0x0506, 0x0708]], [[0x1112, 0x1314], [0x1516, 0x1718]]
    gradients = [[0x2122, 0x2324], [0x2526, 0x2728]]
    elements = np.array([weights, velocities, gradients])
    assert update_packet(WS, elements).tolist() == packet("02010403 12111413 22212423", "06050807 16151817 26252827")
    sent = bytes.fromhex("02010403 1211141306050807 16151817")
    np.testing.assert_array_equal(updated(WS, sent), elements[:2])
