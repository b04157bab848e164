"""What the page of a simulation says, read without a browser; `test_cli_html_browser.py` opens it in one."""

import json
import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest

from quaver.cli.html_report import CAUSES, COMPONENTS, PASSES, TRAFFIC, page, write_html
from quaver.golden import PRESETS
from quaver.sim import Cycles, Energy, Linear, Simulation, Traffic, Vector, Workload, simulate
from quaver.sim.step import Phase

PARTS = Path(__file__).parents[2] / "cli" / "page"
EVIL = "</script><b>bold</b><!--<script>"
TRAINING = simulate("lenet5", PRESETS["tiny"], pass_="training", batch=1000, accumulate=2, recompute=True)
HOSTILE = simulate(
    Workload(
        name=f"net {EVIL}",
        layers=(
            Linear(name=EVIL, in_features=64, out_features=32),
            Vector(name="$title ${figures} &amp; \\u003c", kind="relu", outputs=32),
        ),
    ),
    PRESETS["tiny"],
)


class Page(HTMLParser):
    """Elements with their attributes, and the text that begins with each of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._texts.append("")

    def handle_data(self, data: str) -> None:
        if self._texts:
            self._texts[-1] += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def texts(self, tag: str) -> list[str]:
        return [text.strip() for (name, _), text in zip(self.elements, self._texts, strict=True) if name == tag]

    @property
    def facts(self) -> dict[str, str]:
        return dict(zip(self.texts("dt"), self.texts("dd"), strict=True))


@pytest.fixture(scope="module", params=["training", "hostile"])
def simulation(request: pytest.FixtureRequest) -> Simulation:
    return {"training": TRAINING, "hostile": HOSTILE}[request.param]


def test_it_is_whole_in_one_file(simulation: Simulation) -> None:
    text = page(simulation)
    read = Page(text)
    links = [value for _, attrs in read.elements for key, value in attrs.items() if key in ("src", "href", "srcset")]
    assert links == ["data:,"]
    assert "default-src 'none'" in text
    assert "plotly.js v" in text
    names = {path.name for path in PARTS.iterdir()}
    assert names == {"page.html", "page.css", *re.findall(r"\w+\.js", " ".join(names))}
    for part in PARTS.iterdir():
        if part.suffix != ".html":
            assert part.read_text(encoding="utf-8") in text, part


def test_no_name_breaks_it(simulation: Simulation) -> None:
    read = Page(page(simulation))
    counts = {tag: read.count(tag) for tag in ("script", "style", "b", "aside", "main")}
    assert counts == {"script": 3, "style": 1, "b": 0, "aside": 1, "main": 1}
    assert read.texts("h1") == [f"{simulation.workload} on {simulation.machine.name}"]


def test_its_figures_are_the_jsons(simulation: Simulation) -> None:
    figures = json.loads(Page(page(simulation)).texts("script")[0])
    expected = json.loads(json.dumps(simulation.to_dict()))
    assert {key: figures[key] for key in expected if key != "layers"} == {
        key: value for key, value in expected.items() if key != "layers"
    }
    layers = figures["layers"]
    assert isinstance(layers, list) and len(layers) == len(simulation.tasks) > 1
    for found, layer, task in zip(layers, expected["layers"], simulation.tasks, strict=True):
        assert found == layer | {"layers": list(task.task.layers)}


def test_words_are_complete() -> None:
    """A part without a word would be missing from charts and panel."""
    for words, parts in ((CAUSES, Cycles), (COMPONENTS, Energy), (TRAFFIC, Traffic)):
        assert sorted(words) == sorted(field.name for field in fields(parts))
    assert tuple(PASSES) == get_args(Phase)


def test_heading() -> None:
    facts = Page(page(TRAINING)).facts
    asked = {"pass": "training", "batch": "1,000", "recipe": "hybrid", "micro-batches per update": "2"}
    machine = {
        "array": "4 x 4 MACs, weight-stationary",
        "clock": "50 MHz",
        "technology": "45 nm",
        "buffer": "16 KiB, double buffered",
        "DRAM": "ddr, 0.4 GB/s, 100 ns",
    }
    energy = TRAINING.energy.total
    assert 1e9 < energy < 1e12
    totals = {
        "cycles": f"{TRAINING.cycles:,}",
        "utilisation": f"{TRAINING.utilization:.1%}",
        "in cycles of products": f"{TRAINING.gemm_utilization:.1%}",
        "energy": f"{energy / 1e9:.4g} mJ",
        "energy per MAC": f"{energy / TRAINING.macs:.3g} pJ",
        "TFLOPS per watt": f"{2 * TRAINING.macs / energy:.3g}",
        "DRAM, read": f"{TRAINING.traffic.dram_reads / 1e6:.4g} MB",
        "DRAM, written": f"{TRAINING.traffic.dram_writes / 1e6:.4g} MB",
        "activations kept": f"{TRAINING.kept_bytes / 1e6:.4g} MB",
    }
    for term, fact in (asked | machine | totals).items():
        assert facts[term] == fact
    assert "activations kept" not in Page(page(HOSTILE)).facts
    assert "micro-batches per update" not in Page(page(HOSTILE)).facts


def test_file(tmp_path: Path) -> None:
    write_html(HOSTILE, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == page(HOSTILE)
    with pytest.raises(FileNotFoundError) as caught:
        write_html(HOSTILE, tmp_path / "missing" / "a.html")
    assert caught.value.filename == str(tmp_path / "missing" / "a.html")
