// Charts of the whole simulation: time line, roofline, energy.

const CONFIG = {
  responsive: true, displaylogo: false, displayModeBar: "hover", showTips: false,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
};
const GRID = "#e4e8ed";

function axis(title, more) {
  return {
    title: { text: title, standoff: 8 }, gridcolor: GRID, zerolinecolor: "#b8c0ca", linecolor: "#b8c0ca",
    exponentformat: "SI", ...more,
  };
}

function layout(height, more) {
  return {
    height, showlegend: false, paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff",
    font: { family: FONT, size: 12, color: "#1b2430" },
    hoverlabel: { bgcolor: "#ffffff", bordercolor: "#5a6675", font: { color: "#1b2430", size: 12 }, align: "left" },
    margin: { l: 70, r: 20, t: 10, b: 50 }, ...more,
  };
}

function hover(task) {
  const used = task.utilization === null ? [] : [`utilisation ${percent(task.utilization)}`];
  const times = task.repeats > 1 ? [`${task.repeats} times, one after the other`] : [];
  return [
    `<b>${literal(task.name)}</b>`, `${words.passes[task.pass]}, ${task.unit} unit`, ...times,
    `${whole.format(task.cycles)} cycles, ${time(task.cycles)}`, `from cycle ${whole.format(task.start)}`, ...used,
    `energy ${joules(task.energy_pj)}`,
  ].join("<br>");
}

const passLegend = () => passes.map((pass) => [words.passes[pass], COLOURS.passes[pass]]);

// A click on something that stands for one task.
function clickable(id) {
  document.getElementById(id).on("plotly_click", (event) => {
    const index = event.points[0].customdata;
    if (index !== undefined) choose(tasks[index].name, [tasks[index]]);
  });
}

const units = ["array", "vector", "update"].filter((unit) => tasks.some((task) => task.unit === unit));

function drawTime() {
  legend("time-legend", passLegend());
  const traces = passes.map((pass) => {
    const own = tasks.map((task, index) => [task, index]).filter(([task]) => task.pass === pass);
    return {
      type: "bar", orientation: "h", name: pass, width: 0.8,
      base: own.map(([task]) => task.start), x: own.map(([task]) => task.cycles),
      y: own.map(([task]) => units.indexOf(task.unit)), customdata: own.map(([, index]) => index),
      text: own.map(() => ""), textposition: "inside", insidetextanchor: "middle", textangle: 0, constraintext: "none",
      insidetextfont: { size: LABEL }, hovertext: own.map(([task]) => hover(task)),
      hovertemplate: "%{hovertext}<extra></extra>", marker: { color: COLOURS.passes[pass], line: { width: 0 } },
    };
  });
  const clock = whole.format(simulation.clock_mhz);
  Plotly.newPlot("time", traces, layout(130 + 50 * units.length, {
    barmode: "overlay", dragmode: "zoom",
    xaxis: axis(`time, cycles at ${clock} MHz`, {
      range: [0, simulation.total.cycles], rangeslider: { thickness: 0.14, bgcolor: "#f4f6f9" }, minallowed: 0,
      maxallowed: simulation.total.cycles,
    }),
    yaxis: axis("unit", {
      type: "linear", tickvals: units.map((_, index) => index), ticktext: units, range: [units.length - 0.5, -0.5],
      fixedrange: true, showgrid: false, zeroline: false,
    }),
  }), CONFIG);
  clickable("time");
  document.getElementById("time").on("plotly_relayout", (change) => {
    if (Object.keys(change).some((key) => key.startsWith("xaxis"))) nameTasks();
  });
  nameTasks();
}

// Names of the tasks that are wide enough for them, and in sight, are written into their bars.
function nameTasks() {
  const chart = document.getElementById("time");
  const [first, last] = chart.layout.xaxis.range;
  const pixels = (chart.clientWidth - 90) / (last - first);
  const texts = chart.data.map((trace) => trace.customdata.map((index) => {
    const { name, start, cycles } = tasks[index];
    const seen = Math.min(start + cycles, last) - Math.max(start, first);
    return seen * pixels > width(name) + 8 ? literal(name) : "";
  }));
  return Plotly.restyle(chart, { text: texts });
}

function markTime(chosen) {
  const shapes = chosen.map((task) => {
    const lane = units.indexOf(task.unit);
    return {
      type: "rect", x0: task.start, x1: task.start + task.cycles, y0: lane - 0.46, y1: lane + 0.46,
      line: { color: "#111111", width: 2 },
    };
  });
  return Plotly.relayout("time", { shapes });
}

const products = tasks.map((task, index) => [task, index]).filter(([task]) => task.macs > 0 && dram(task) > 0);
const intensity = (task) => task.macs / dram(task);
const speed = (task) => task.macs / task.cycles;

// The points of the roof: bandwidth, where it meets the peak, peak; more than a decade, whose ticks are at 1, 2 and 5.
function roof(least, most) {
  const ridge = simulation.peak / simulation.dram_bytes_per_cycle;
  const left = Math.min(least, ridge) / 2;
  return [left, ridge, Math.max(2 * most, 2 * ridge, 12 * left)];
}

function drawRoofline() {
  const vector = products.some(([task]) => task.unit !== "array");
  legend("roofline-legend", [
    ...passLegend().filter(([word]) => products.some(([task]) => words.passes[task.pass] === word))
      .map(([word, colour]) => [word, colour, "round"]),
    ...(vector ? [["on the vector unit", "#9aa3ad", "diamond"]] : []),
    ...(products.length ? [] : [["no products here", "#ffffff", "bare"]]),
  ]);
  const traces = passes.map((pass) => {
    const own = products.filter(([task]) => task.pass === pass);
    return {
      type: "scatter", mode: "markers", name: pass, x: own.map(([task]) => intensity(task)),
      y: own.map(([task]) => speed(task)), customdata: own.map(([, index]) => index),
      hovertext: own.map(([task]) => `${hover(task)}<br>${scaled(intensity(task), "MAC")} per byte of DRAM<br>` +
        `${scaled(speed(task), "MAC")} per cycle`),
      hovertemplate: "%{hovertext}<extra></extra>",
      marker: {
        color: COLOURS.passes[pass], size: 9, opacity: 0.75, line: { color: "#ffffff", width: 1 },
        symbol: own.map(([task]) => (task.unit === "array" ? "circle" : "diamond")),
      },
    };
  });
  const xs = products.map(([task]) => intensity(task));
  const ys = products.map(([task]) => speed(task));
  const [left, ridge, right] = roof(...(xs.length ? [Math.min(...xs), Math.max(...xs)] : [1, 1]));
  const bandwidth = simulation.dram_bytes_per_cycle;
  const bottom = Math.min(left * bandwidth, ...ys) / 1.5;
  traces.unshift({
    type: "scatter", mode: "lines", name: "roof", x: [left, ridge, right],
    y: [left * bandwidth, simulation.peak, simulation.peak], hoverinfo: "skip", line: { color: "#1b2430", width: 2 },
  });
  const note = (x, y, text, more) => ({
    x: Math.log10(x), y: Math.log10(y), text, showarrow: false, font: { size: 12 }, yanchor: "bottom", yshift: 3, ...more,
  });
  // No more ticks than at 1, 2 and 5 of each decade, which leaves room for whole numbers.
  const ticks = (low, high) => Math.max(3, Math.round(2.5 * Math.log10(high / low)));
  const wide = document.getElementById("roofline").clientWidth > 600;
  const logarithmic = (low, high, room) => ({
    type: "log", tickformat: ",~g", nticks: room ? ticks(low, high) : 3, zeroline: false, range: [low, high].map(Math.log10),
  });
  Plotly.newPlot("roofline", traces, layout(430, {
    hovermode: "closest", dragmode: "zoom",
    xaxis: axis("MACs per byte of DRAM", logarithmic(left, right, wide)),
    yaxis: axis("MACs per cycle", logarithmic(bottom, simulation.peak * 3, true)),
    annotations: [
      note(right, simulation.peak, `array: ${whole.format(simulation.peak)} MACs per cycle`, { xanchor: "right" }),
      note(left, simulation.peak, `DRAM: ${scaled(bandwidth, "B")} per cycle`, { xanchor: "left", yshift: 22 }),
    ],
  }), CONFIG);
  clickable("roofline");
}

// Rings around the points of the chosen tasks.
function markRoofline(chosen) {
  const chart = document.getElementById("roofline");
  const rings = chart.data.findIndex((trace) => trace.name === "chosen");
  const own = chosen.filter((task) => task.macs > 0 && dram(task) > 0);
  const trace = {
    type: "scatter", mode: "markers", name: "chosen", x: own.map(intensity), y: own.map(speed), hoverinfo: "skip",
    marker: { color: "rgba(0,0,0,0)", size: 15, line: { color: "#111111", width: 2 } },
  };
  const data = rings < 0 ? [...chart.data, trace] : chart.data.toSpliced(rings, 1, trace);
  return Plotly.react(chart, data, chart.layout, CONFIG);
}

function drawEnergy() {
  legend("energy-legend", passLegend());
  const names = Object.keys(words.components);
  const spent = simulation.total.energy_by_component_pj;
  const share = (name) => (simulation.total.energy_pj ? spent[name] / simulation.total.energy_pj : 0);
  const traces = passes.map((pass) => {
    const sums = added(tasks.filter((task) => task.pass === pass), "energy_by_component_pj");
    const own = names.filter((name) => sums[name] > 0);
    return {
      type: "bar", orientation: "h", name: pass, marker: { color: COLOURS.passes[pass], line: { width: 0 } }, width: 0.7,
      x: own.map((name) => sums[name] * 1e-12), y: own.map((name) => names.indexOf(name)),
      hovertext: own.map((name) => `<b>${words.components[name]}</b>, ${words.passes[pass]}<br>${joules(sums[name])}`),
      hovertemplate: "%{hovertext}<extra></extra>",
    };
  });
  traces.push({
    type: "scatter", mode: "text", name: "totals", x: names.map((name) => spent[name] * 1e-12),
    y: names.map((_, index) => index), text: names.map((name) => ` ${joules(spent[name])}, ${percent(share(name))}`),
    textposition: "middle right", hoverinfo: "skip", cliponaxis: false,
  });
  const most = Math.max(...names.map((name) => spent[name])) * 1e-12;
  Plotly.newPlot("energy", traces, layout(60 + 30 * names.length, {
    barmode: "stack", margin: { l: 105, r: 130, t: 10, b: 50 },
    xaxis: axis("energy", { ticksuffix: "J", range: [0, most * 1.02 || 1], tickformat: "~s", fixedrange: true }),
    yaxis: axis("", {
      type: "linear", tickvals: names.map((_, index) => index), ticktext: names.map((name) => words.components[name]),
      range: [names.length - 0.5, -0.5], fixedrange: true, showgrid: false, zeroline: false,
    }),
  }), { ...CONFIG, displayModeBar: false });
}
