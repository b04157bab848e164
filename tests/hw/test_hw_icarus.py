"""The generated Verilog in a second simulator, Icarus Verilog, under a testbench in plain Verilog."""

import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from quaver.golden import PRESETS, RNE, Accelerator, Accumulator, Machine, sr
from quaver.golden.catalog import FP16, FP32
from quaver.golden.commands import Matmul
from quaver.golden.plan import plan
from quaver.host.beats import a_bytes, a_packet, b_bytes, b_packet, result_bytes, results
from quaver.host.driver import command_words
from quaver.host.registers import ADDRESS_BITS, IDENTITY, register_map
from quaver.hw.generate import generate

TINY = replace(PRESETS["tiny"], accumulator_depth=4, scratchpad_depth=8, queue_depth=4, update_lanes=0)
STOCHASTIC = replace(
    TINY,
    name="stochastic",
    rows=2,
    columns=3,
    chunk=2,
    seed=9,
    inner=Accumulator(format=FP16, rounding=sr(8)),
    outer=Accumulator(format=FP32, rounding=sr(4)),
)
OUTPUT_STATIONARY = replace(TINY, name="os", dataflow="os", mac_depth=3)
INPUT_STATIONARY = replace(TINY, name="is", dataflow="is", rows=2, columns=3, chunk=2)

TESTBENCH = """
module testbench;
  reg aclk = 0, aresetn = 0;
  always #5 aclk = ~aclk;

  reg [{address} - 1:0] address;
  reg [31:0] word;
  reg awvalid = 0, arvalid = 0, a_valid = 0, b_valid = 0, a_last, b_last;
  reg [{a} - 1:0] a_data;
  reg [{b} - 1:0] b_data;
  wire awready, wready, bvalid, arready, rvalid, a_ready, b_ready, valid, last, irq;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;
  wire [{results} - 1:0] data;
  wire [{results} / 8 - 1:0] keep;

  {top} dut (
    .aclk(aclk), .aresetn(aresetn), .irq(irq),
    .s_axil_awaddr(address), .s_axil_awprot(3'd0), .s_axil_awvalid(awvalid), .s_axil_awready(awready),
    .s_axil_wdata(word), .s_axil_wstrb(4'hf), .s_axil_wvalid(awvalid), .s_axil_wready(wready),
    .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(1'b1),
    .s_axil_araddr(address), .s_axil_arprot(3'd0), .s_axil_arvalid(arvalid), .s_axil_arready(arready),
    .s_axil_rdata(rdata), .s_axil_rresp(rresp), .s_axil_rvalid(rvalid), .s_axil_rready(1'b1),
    .s_axis_a_tdata(a_data), .s_axis_a_tvalid(a_valid), .s_axis_a_tlast(a_last), .s_axis_a_tready(a_ready),
    .s_axis_b_tdata(b_data), .s_axis_b_tvalid(b_valid), .s_axis_b_tlast(b_last), .s_axis_b_tready(b_ready),
    .m_axis_tdata(data), .m_axis_tkeep(keep), .m_axis_tvalid(valid), .m_axis_tlast(last), .m_axis_tready(1'b1)
  );

  // All inputs change at falling edges, away from the edges that count.
  task write(input [{address} - 1:0] at, input [31:0] what);
    begin
      address = at; word = what; awvalid = 1;
      @(posedge aclk);
      while (!(awready && wready)) @(posedge aclk);
      @(negedge aclk) awvalid = 0;
      while (!bvalid) @(negedge aclk);
      if (bresp != 0) $display("refused %h", at);
      @(negedge aclk);
    end
  endtask

  task read(input [{address} - 1:0] at);
    begin
      address = at; arvalid = 1;
      @(posedge aclk);
      while (!arready) @(posedge aclk);
      @(negedge aclk) arvalid = 0;
      while (!rvalid) @(negedge aclk);
      $display("read %h %h %h", at, rdata, rresp);
      @(negedge aclk);
    end
  endtask

  task send_a(input [{a} - 1:0] beat, input ends);
    begin
      a_data = beat; a_last = ends; a_valid = 1;
      @(posedge aclk);
      while (!a_ready) @(posedge aclk);
      @(negedge aclk) a_valid = 0;
    end
  endtask

  task send_b(input [{b} - 1:0] beat, input ends);
    begin
      b_data = beat; b_last = ends; b_valid = 1;
      @(posedge aclk);
      while (!b_ready) @(posedge aclk);
      @(negedge aclk) b_valid = 0;
    end
  endtask

  always @(posedge aclk) if (valid) $display("result %h %b %b", data, keep, last);

  initial begin
    repeat (3) @(negedge aclk);
    aresetn = 1;
    @(negedge aclk);
{registers}
    fork
      begin
{a_beats}
      end
      begin
{b_beats}
      end
    join
    wait (irq);
    repeat ({settle}) @(negedge aclk);
    $display("irq %b", irq);
{final}
    $display("end");
    $finish;
  end

  initial #1000000 $display("time is up");
  initial #1000001 $finish;
endmodule
"""


@dataclass(frozen=True)
class Job:
    command: Matmul
    a: NDArray | None
    b: NDArray


@pytest.fixture(scope="module")
def iverilog() -> str:
    program = shutil.which("iverilog")
    if program is None:
        pytest.fail("iverilog is missing; on Debian or Ubuntu `apt install iverilog` brings it")
    return program


def jobs(machine: Machine) -> list[Job]:
    """A product of one pair of codes, then a matrix multiplication of two commands."""
    rng = np.random.default_rng(int(machine.digest[:8], 16))
    made = []
    for m, k, n in ((1, 1, 1), (3, machine.block_products + 1, machine.columns + 1)):
        a = rng.integers(0x20, 0x50, (m, k)) | rng.integers(0, 2, (m, k)) << 7
        b = rng.integers(0x20, 0x50, (k, n)) | rng.integers(0, 2, (k, n)) << 7
        kept = False
        for block in plan(machine, m, k, n, stochastic=machine.inner.rounding != RNE):
            made.append(Job(block.command, None if kept else a[block.rows], b[:, block.columns]))
            kept = block.command.keep
    return made


def testbench(machine: Machine, top: str, work: list[Job]) -> str:
    registers = register_map(machine)
    writes = {name: registers[name].offset for name in ("INTERRUPT", "IDENTITY", "COMPLETED", "STATUS")}
    orders = [
        (registers[name].offset, word) for job in work for name, word in command_words(registers, job.command).items()
    ]
    packets = {"a": [], "b": []}
    for job in work:
        if job.a is not None:
            packets["a"].append(a_packet(machine, job.command, job.a))
        packets["b"].append(b_packet(machine, job.command, job.b))
    sends = {
        port: "\n".join(
            f"        send_{port}({8 * len(beat)}'h{beat.tobytes()[::-1].hex()}, {int(index == len(packet) - 1)});"
            for packet in queue
            for index, beat in enumerate(packet)
        )
        for port, queue in packets.items()
    }
    enable = registers["INTERRUPT"]["done"].put(1)
    lines = [f"    read({writes['IDENTITY']});", f"    write({writes['INTERRUPT']}, {enable});"]
    lines += [f"    write({offset}, 32'h{word:x});" for offset, word in orders]
    return TESTBENCH.format(
        top=top,
        address=ADDRESS_BITS,
        a=8 * a_bytes(machine),
        b=8 * b_bytes(machine),
        results=8 * result_bytes(machine),
        registers="\n".join(lines),
        a_beats=sends["a"],
        b_beats=sends["b"],
        settle=20 * machine.latency,
        final="\n".join(f"    read({writes[name]});" for name in ("COMPLETED", "STATUS")),
    )


testbench.__test__ = False


def received(lines: list[str]) -> list[bytes]:
    """Packets of results, without the bytes that are not kept."""
    packets, packet = [], b""
    for line in lines:
        if line.startswith("result "):
            data, keep, last = line.split()[1:]
            beat = bytes.fromhex(data)[::-1]
            packet += bytes(byte for byte, bit in zip(beat, keep[::-1], strict=True) if bit == "1")
            if last == "1":
                packets.append(packet)
                packet = b""
    assert not packet
    return packets


@pytest.mark.parametrize(
    "machine", [TINY, STOCHASTIC, OUTPUT_STATIONARY, INPUT_STATIONARY], ids=lambda machine: machine.name
)
def test_icarus_computes_the_same(machine: Machine, iverilog: str, tmp_path: Path) -> None:
    path, *_ = generate(machine, tmp_path)
    work = jobs(machine)
    bench = tmp_path / "testbench.v"
    bench.write_text(testbench(machine, path.stem, work), encoding="utf-8")
    command = [iverilog, "-g2005-sv", "-Wall", "-s", "testbench", "-o", tmp_path / "run", path, bench]
    built = subprocess.run(command, capture_output=True, text=True)
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    run = subprocess.run([tmp_path / "run"], capture_output=True, text=True, timeout=120, check=True)
    lines = run.stdout.splitlines()

    registers = register_map(machine)
    said = [line for line in lines if not line.startswith(("result ", "testbench", str(bench)))]
    completed, status = registers["COMPLETED"].offset, registers["STATUS"].offset
    assert said[:-1] == [
        f"read {registers['IDENTITY'].offset:03x} {IDENTITY:08x} 0",
        "irq 1",
        f"read {completed:03x} {len(work):08x} 0",
        f"read {status:03x} {registers['STATUS']['done'].put(1):08x} 0",
    ]
    assert said[-1] == "end"
    golden, packets = Accelerator(machine), received(lines)
    assert len(packets) == len(work) == 3
    compared = 0
    for job, packet in zip(work, packets, strict=True):
        expected = golden.run(job.command, job.a, job.b).codes
        np.testing.assert_array_equal(results(machine, job.command, packet), expected)
        compared += expected.size
    assert compared == 1 + 3 * (machine.columns + 1)


def test_a_missing_program_is_a_failure(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(pytest.fail.Exception) as caught:
        iverilog.__wrapped__()
    assert str(caught.value) == "iverilog is missing; on Debian or Ubuntu `apt install iverilog` brings it"
