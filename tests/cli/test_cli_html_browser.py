"""The page of a simulation in a browser: what is drawn, what a click tells, that labels can be read."""

import re
import shutil
from collections.abc import Callable, Iterator
from math import isclose
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from quaver.cli.html_report import CAUSES, COMPONENTS, PASSES, TRAFFIC, write_html
from quaver.golden import PRESETS
from quaver.sim import Linear, Simulation, TaskResult, Vector, Workload, simulate

OPTIONS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
NAMES = [
    "</script><b>bold</b><img src=x onerror=alert(1)>",
    "%{x} &amp; <br>",
    "1",
    "/model/layers." + "0" * 300,
    "$a$",
]
CASES = {
    "resnet50": lambda: simulate("resnet50", PRESETS["cloud"], pass_="training", batch=32),
    "lenet5": lambda: simulate("lenet5", PRESETS["tiny"]),
    "mobilenet": lambda: simulate("mobilenet_v2", PRESETS["edge"], pass_="training", accumulate=2, recompute=True),
    "names": lambda: simulate(named(*NAMES), PRESETS["tiny"], pass_="training"),
}


def named(*names: str) -> Workload:
    layers = tuple(Linear(name=name, in_features=64, out_features=64) for name in names)
    return Workload(name=NAMES[0], layers=layers)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "chromium is missing: apt install chromium, as README's prerequisites say"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[f"--{option}" for option in OPTIONS.split()])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a simulation's page; in the end nothing may have been complained of, or fetched from anywhere."""
    told: list[str] = []
    fetched: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    path = tmp_path / "report.html"

    def open_(simulation: Simulation, width: int = 1280) -> Page:
        write_html(simulation, path)
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("dialog", lambda dialog: told.append(dialog.message))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_
    context.close()
    assert told == []
    assert set(fetched) == {path.as_uri()}


@pytest.fixture(scope="module", params=CASES)
def simulation(request: pytest.FixtureRequest) -> Simulation:
    return CASES[request.param]()


def some(*names: str) -> pytest.MarkDecorator:
    """For tests of some of the cases only."""
    return pytest.mark.parametrize("simulation", names, indirect=True)


def rows(simulation: Simulation, phase: str = "all", unit: str = "") -> dict[str, list[TaskResult]]:
    """Tasks of a pass by name."""
    found: dict[str, list[TaskResult]] = {}
    for task in simulation.tasks:
        if phase in ("all", task.task.phase) and unit in ("", task.unit):
            found.setdefault(task.task.name, []).append(task)
    return found


def drawn(page: Page, chart: str, layer: str) -> int:
    """Bars or points that the browser has drawn, those of no extent left out."""
    marks = f"#{chart} .cartesianlayer .{layer} .point"
    script = "(marks) => marks.filter(mark => (mark.querySelector('path') || mark).getTotalLength() > 0).length"
    return page.locator(marks).evaluate_all(script)


def causes_of(tasks: list[TaskResult]) -> dict[str, int]:
    return {name: sum(getattr(task.causes, name) for task in tasks) for name in CAUSES}


def waiting(causes: dict[str, int]) -> int:
    return sum(causes[name] for name in ("weights", "sums", "fill", "dram_bandwidth", "dram_latency"))


@some("resnet50", "lenet5", "mobilenet")
def test_all_is_drawn(opened: Callable[..., Page], simulation: Simulation) -> None:
    page = opened(simulation)
    assert drawn(page, "time", "barlayer") == len(simulation.tasks) > 4
    layers = rows(simulation)
    bars = sum(bool(value) for tasks in layers.values() for value in causes_of(tasks).values())
    assert drawn(page, "cycles", "barlayer") == bars > 4
    products = [causes_of(tasks) for tasks in rows(simulation, unit="array").values()]
    parts = sum((c["macs"] > 0) + (c["edges"] > 0) + (waiting(c) > 0) for c in products)
    assert drawn(page, "occupancy", "barlayer") == parts > 4
    rings = page.evaluate("chosen.tasks.filter((task) => task.macs > 0).length")
    assert drawn(page, "roofline", "scatterlayer") == sum(task.macs > 0 for task in simulation.tasks) + rings
    phases = {task.task.phase for task in simulation.tasks}
    spent = [
        sum(getattr(task.energy, part) for task in simulation.tasks if task.task.phase == phase)
        for part in COMPONENTS
        for phase in phases
    ]
    assert drawn(page, "energy", "barlayer") == sum(energy > 0 for energy in spent) > 4


def number(page: Page, cell: str) -> float:
    """What a person reads in a cell of the panel, without its unit."""
    text = page.locator(f"[id='{cell}']").inner_text().replace(",", "")
    found = re.fullmatch(r"([\d.]+)(?: ([pnµmkMGT]?)([JsB%]))?", text)
    assert found, text
    scales = {"p": 1e-12, "n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    return float(found[1]) * (0.01 if found[3] == "%" else scales[found[2] or ""])


def check_panel(page: Page, name: str, tasks: list[TaskResult], simulation: Simulation) -> int:
    """Compare all figures of the panel with the simulation's; the result is how many there were."""
    assert page.locator("#layer-name").inner_text() == " ".join(name.split())
    exact: dict[str, float] = {
        "cycles": sum(task.cycles for task in tasks),
        "macs": sum(task.macs for task in tasks),
        **{f"causes-{cause}": cycles for cause, cycles in causes_of(tasks).items()},
        **{f"traffic-{key}": sum(getattr(task.traffic, key) for task in tasks) for key in TRAFFIC},
    }
    if len(tasks) == 1:
        figures: dict[str, Any] = tasks[0].to_dict(simulation.machine)
        exact |= {key: figures[key] for key in ("m", "k", "n", "groups", "repeats") if figures[key] is not None}
    for key, value in exact.items():
        assert number(page, f"layer-{key}") == value, key
    rounded = {
        "energy": sum(task.energy.total for task in tasks) * 1e-12,
        "time": exact["cycles"] / (simulation.machine.clock_mhz * 1e6),
        **{f"components-{key}": sum(getattr(task.energy, key) for task in tasks) * 1e-12 for key in COMPONENTS},
    }
    for key, value in rounded.items():
        assert isclose(number(page, f"layer-{key}"), value, rel_tol=1e-3, abs_tol=1e-15), key
    array = [task for task in tasks if task.unit == "array"]
    if array:
        peak = simulation.machine.rows * simulation.machine.columns
        useful = sum(task.macs for task in array) / (peak * sum(task.cycles for task in array))
        assert isclose(number(page, "layer-utilization"), useful, abs_tol=6e-4)
    return len(exact) + len(rounded)


def click_row(page: Page, chart: str, label: int) -> None:
    """Click at the beginning of a row that is in sight."""
    page.locator(f"#{chart}-box").scroll_into_view_if_needed()
    box = page.locator(f"#{chart} .ytick text").nth(label).bounding_box()
    assert box
    click(page, box["x"] + box["width"] + 12, box["y"] + box["height"] / 2)


def click_task(page: Page, chart: str, simulation: Simulation, task: int) -> None:
    """Click in the middle of a task's bar or point; a pass has them in order, the roofline those of products."""
    phase = simulation.tasks[task].task.phase
    before = [other for other in simulation.tasks[:task] if other.task.phase == phase]
    place = sum(other.macs > 0 for other in before) if chart == "roofline" else len(before)
    page.locator(f"#{chart}").scroll_into_view_if_needed()
    marks = page.locator(f"#{chart} .cartesianlayer .point")
    of_pass = "mark.closest('.trace').__data__[0].trace.name === phase"
    at = f"(marks, [phase, place]) => marks.findIndex((mark) => {of_pass} && mark.__data__.i === place)"
    index = marks.evaluate_all(at, [phase, place])
    box = marks.nth(index).bounding_box()
    assert index >= 0 and box
    click(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def click(page: Page, x: float, y: float) -> None:
    page.mouse.move(x - 2, y)
    page.mouse.move(x, y)
    page.mouse.click(x, y)


@some("resnet50", "mobilenet")
def test_a_click_on_a_row_tells_all_figures(opened: Callable[..., Page], simulation: Simulation) -> None:
    page = opened(simulation)
    layers = rows(simulation)
    largest = max(layers, key=lambda name: sum(task.cycles for task in layers[name]))
    assert check_panel(page, largest, layers[largest], simulation) > 25
    for chart, unit in (("cycles", ""), ("occupancy", "array")):
        shown = rows(simulation, unit=unit)
        for label in (0, 3, 4):
            name = list(shown)[label]
            click_row(page, chart, label)
            page.wait_for_function("(name) => chosen.name === name", arg=name)
            assert check_panel(page, name, shown[name], simulation) > 25


@some("mobilenet")
def test_a_click_on_a_task_tells_all_figures(opened: Callable[..., Page], simulation: Simulation) -> None:
    page = opened(simulation)
    tasks = simulation.tasks
    longest = max(range(len(tasks)), key=lambda index: tasks[index].cycles)
    click_task(page, "time", simulation, longest)
    page.wait_for_function("(index) => chosen.tasks.length === 1 && chosen.tasks[0] === tasks[index]", arg=longest)
    assert check_panel(page, tasks[longest].task.name, [tasks[longest]], simulation) > 30
    # Products that are alike are one point; which of them is told is no matter.
    slowest = min((i for i, task in enumerate(tasks) if task.macs), key=lambda i: tasks[i].macs / tasks[i].cycles)
    click_task(page, "roofline", simulation, slowest)
    page.wait_for_function("(index) => chosen.tasks[0] !== tasks[index]", arg=longest)
    found = tasks[page.evaluate("tasks.indexOf(chosen.tasks[0])")]
    assert found.macs / found.cycles == tasks[slowest].macs / tasks[slowest].cycles
    assert check_panel(page, found.task.name, [found], simulation) > 30


@some("mobilenet")
def test_passes_can_be_switched(opened: Callable[..., Page], simulation: Simulation) -> None:
    page = opened(simulation)
    choices = page.locator("#pass-switch input").evaluate_all("(inputs) => inputs.map((input) => input.value)")
    assert choices == ["all", *(p for p in PASSES if any(task.task.phase == p for task in simulation.tasks))]
    assert len(choices) >= 5
    for phase in choices[1:]:
        page.locator(f"#pass-switch input[value={phase}]").check()
        layers = rows(simulation, phase)
        page.wait_for_function(
            "(title) => document.getElementById('cycles-title').textContent === title",
            arg=f"Cycles by cause, {PASSES[phase]}: {len(layers):,} rows",
        )
        causes = [causes_of(tasks) for tasks in layers.values()]
        expected = {name: sum(c[name] for c in causes) for name in CAUSES}
        bars = "document.getElementById('cycles').data.filter((trace) => trace.type === 'bar')"
        sums = page.evaluate(f"Object.fromEntries({bars}.map((t) => [t.name, t.x.reduce((a, b) => a + b, 0)]))")
        assert sums == {name: value for name, value in expected.items() if value}
        page.wait_for_function("() => !charts.cycles.pending")
        assert drawn(page, "cycles", "barlayer") == sum(value > 0 for c in causes for value in c.values())
        products = rows(simulation, phase, "array")
        assert page.evaluate("charts.occupancy.rows.map((row) => row.name)") == list(products)
    page.select_option("#measure", "components")
    page.select_option("#order", "largest")
    page.wait_for_function("() => document.getElementById('cycles-title').textContent.startsWith('Energy')")
    shown = page.evaluate("charts.cycles.rows.map((row) => row.cycles)")
    assert shown == sorted((sum(task.cycles for task in tasks) for tasks in layers.values()), reverse=True)


OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll('header dt, header dd, h1, h2, h3, .legend span, label, svg text')]
    .filter((text) => text.textContent && text.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
    .map((text) => [text.textContent, text.getBoundingClientRect(), text.closest('svg, div, aside')])
    .filter(([, box]) => box.width > 0);
  const cover = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
  const found = [];
  boxes.forEach(([text, box], index) => boxes.slice(index + 1).forEach(([other, otherBox]) => {
    if (cover(box, otherBox)) found.push(`${text} / ${other}`);
  }));
  return [boxes.length, found];
}"""


@pytest.mark.parametrize(("first", "width"), [(1280, 1280), (480, 480), (1280, 480)])
@some("resnet50", "names")
def test_labels_can_be_read(opened: Callable[..., Page], simulation: Simulation, first: int, width: int) -> None:
    """None lies on another one, none is cut off, and there is nothing to scroll to on the right."""
    page = opened(simulation, first)
    page.set_viewport_size({"width": width, "height": 900})
    charts = "['time', 'cycles', 'occupancy', 'roofline', 'energy']"
    frames = "document.querySelector(`#${chart} .main-svg`).getBoundingClientRect().width"
    page.wait_for_function(f"() => {charts}.every((chart) => {frames} < innerWidth)")
    if width < 980:  # a narrow window shows the panel over the charts
        page.add_style_tag(content="#panel { position: static !important; }")
    count, overlapping = page.evaluate(OVERLAPS)
    assert overlapping == []
    assert count > 60
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.locator("svg text").evaluate_all(
        """(texts) => texts.filter((text) => {
          const box = text.getBoundingClientRect(), frame = text.closest('svg').getBoundingClientRect();
          return box.width > 0 && (box.left < frame.left - 1 || box.right > frame.right + 1);
        }).map((text) => text.textContent)"""
    )
    assert cut == []
    titles = {"time, cycles at", "cycles", "MACs per byte of DRAM", "MACs per cycle", "energy"}
    shown = page.locator(".xtitle, .ytitle").all_text_contents()
    assert all(any(text.startswith(title) for text in shown) for title in titles)


@some("resnet50")
def test_rows_out_of_sight_are_scrolled_to(opened: Callable[..., Page], simulation: Simulation) -> None:
    page = opened(simulation)
    layers = rows(simulation)
    labels = "[...document.querySelectorAll('#cycles .ytick text')].map((label) => label.textContent)"
    assert page.evaluate(labels) == list(layers)[: page.evaluate(f"{labels}.length")]
    page.locator("#cycles-box").evaluate("(box) => { box.scrollTop = box.scrollHeight; }")
    last = list(layers)[-1]
    page.wait_for_function(f"(name) => {labels}.includes(name)", arg=last)
    shown = page.evaluate(labels)
    assert shown == list(layers)[-len(shown) :]
    click_row(page, "cycles", len(shown) - 1)
    page.wait_for_function("(name) => chosen.name === name", arg=last)
    assert check_panel(page, last, layers[last], simulation) > 25
    # A layer that is looked for by its name is brought into sight.
    wanted = list(layers)[10]
    page.fill("#layer-search", wanted)
    page.press("#layer-search", "Enter")
    page.wait_for_function(f"(name) => {labels}.includes(name)", arg=wanted)
    assert check_panel(page, wanted, layers[wanted], simulation) > 25


@some("resnet50")
def test_the_time_line_can_be_zoomed(opened: Callable[..., Page], simulation: Simulation) -> None:
    """Tasks that are wide enough bear their names."""
    page = opened(simulation)
    names = "[...document.querySelectorAll('#time .cartesianlayer .bartext')].map((text) => text.textContent)"
    assert page.evaluate(names) == []
    area = page.locator("#time .nsewdrag").first.bounding_box()
    assert area
    page.mouse.move(area["x"] + 6, area["y"] + 60)
    page.mouse.down()
    page.mouse.move(area["x"] + 46, area["y"] + 60, steps=8)
    page.mouse.up()
    page.wait_for_function(f"() => {names}.length > 3")
    shown = page.evaluate(names)
    first = [task.task.name for task in simulation.tasks[:40]]
    assert set(shown) <= set(first)
    assert page.evaluate("document.getElementById('time').layout.xaxis.range[1]") < simulation.cycles / 8


@some("names")
def test_names_are_shown_as_they_are(opened: Callable[..., Page], simulation: Simulation) -> None:
    page = opened(simulation)
    heading = page.locator("h1")
    assert heading.inner_text() == f"{NAMES[0]} on tiny"
    assert page.locator("b, img").count() == 0
    labels = page.locator("#cycles .ytick text").all_text_contents()
    assert [labels[2], labels[4], labels[8]] == [NAMES[1], NAMES[2], NAMES[4]]
    assert re.fullmatch(r"</script>.*….*alert\(1\)>", labels[0])
    assert re.fullmatch(r"/model.*…0+", labels[6])
    layers = rows(simulation)
    for label, name in zip((0, 2, 4, 6, 8), NAMES, strict=True):
        click_row(page, "cycles", label)
        page.wait_for_function("(name) => chosen.name === name", arg=name)
        assert check_panel(page, name, layers[name], simulation) > 25
        hover = page.locator("#cycles .hoverlayer").text_content()
        assert hover and name in hover


def test_a_simulation_without_products(opened: Callable[..., Page]) -> None:
    relu = Vector(name="relu", kind="relu", outputs=1000)
    page = opened(simulate(Workload(name="one", layers=(relu,)), PRESETS["edge"]))
    assert page.locator("#roofline-legend").inner_text() == "no products here"
    assert page.locator("#occupancy-legend").inner_text() == "no products on the array here"
    assert page.locator("#layer-name").inner_text() == "relu"
    assert drawn(page, "time", "barlayer") == 1
