// Charts with a row per layer, stacked bars in it; as many rows as fit are drawn, the box around them scrolls.

const ROW = 18;
const MARGIN = { t: 46, b: 8, r: 16 };
const HEIGHT_MAX = 560;

class LayerChart {
  constructor(id) {
    this.id = id;
    this.box = document.getElementById(`${id}-box`);
    this.chart = document.getElementById(id);
    this.rows = [];
    this.box.addEventListener("scroll", () => {
      this.pending ||= requestAnimationFrame(() => {
        this.pending = 0;
        Plotly.relayout(this.chart, { "yaxis.range": this.range() });
      });
    });
  }

  // `series`: name, colour and a row's value of each part of a bar; `about`: what hovering over a row tells.
  async draw(rows, series, { title, about, most, suffix }) {
    this.rows = rows;
    this.box.hidden = rows.length === 0;
    if (this.box.hidden) return;
    const full = rows.length * ROW + MARGIN.t + MARGIN.b;
    this.height = Math.min(full, HEIGHT_MAX);
    this.box.style.height = `${this.height + 2}px`;
    this.box.firstElementChild.style.height = `${full}px`;
    this.box.scrollTop = 0;
    const width = this.box.clientWidth;
    const labels = Math.min(190, 0.36 * width);
    const names = rows.map((row) => fitting(row.name, labels - 12));
    const places = rows.map((_, index) => index);
    const traces = series.map(([name, colour, value]) => {
      const own = places.filter((index) => value(rows[index]) > 0);
      return {
        type: "bar", orientation: "h", name, width: 0.78, marker: { color: colour, line: { width: 0 } },
        hoverinfo: "skip", x: own.map((index) => value(rows[index])), y: own,
      };
    });
    // One text for the whole row, wherever the pointer is in it.
    traces.push({
      type: "scatter", mode: "markers", name: "rows", x: rows.map(() => 0), y: places, marker: { opacity: 0, size: 1 },
      hovertext: rows.map(about), hovertemplate: "%{hovertext}<extra></extra>",
    });
    await Plotly.react(this.chart, traces, layout(this.height, {
      barmode: "stack", hovermode: "y", dragmode: "zoom", margin: { l: labels, ...MARGIN }, shapes: this.marks(),
      xaxis: axis(title, {
        side: "top", range: [0, most], tickformat: "~s", ticksuffix: suffix, title: { text: title, standoff: 4 },
        nticks: Math.max(3, Math.floor((width - labels) / 80)),
      }),
      yaxis: {
        type: "linear", tickvals: places, ticktext: names.map(literal), tickfont: { size: LABEL }, range: this.range(),
        fixedrange: true, showgrid: false, zeroline: false, autorange: false,
      },
    }), { ...CONFIG, displayModeBar: false });
    if (!this.listening) {
      this.listening = true;
      this.chart.on("plotly_click", (event) => {
        const row = this.rows[event.points[0].y];
        choose(row.name, row.tasks);
      });
    }
  }

  range() {
    const first = this.box.scrollTop / ROW - 0.5;
    return [first + (this.height - MARGIN.t - MARGIN.b) / ROW, first];
  }

  // A band behind the row of the chosen layer.
  marks() {
    const at = this.rows.findIndex((row) => row.name === chosen.name);
    return at < 0 ? [] : [{
      type: "rect", layer: "below", xref: "paper", x0: -1, x1: 1, y0: at - 0.5, y1: at + 0.5, fillcolor: "#cfdcf0",
      line: { width: 0 },
    }];
  }

  // Mark the chosen layer's row, and scroll to it where that is asked for.
  mark(reveal) {
    if (this.box.hidden) return undefined;
    const at = this.rows.findIndex((row) => row.name === chosen.name);
    const [last, first] = this.range();
    if (reveal && at >= 0 && (at < first + 0.5 || at > last - 0.5)) this.box.scrollTop = (at - 5) * ROW;
    return Plotly.relayout(this.chart, { shapes: this.marks() });
  }
}

const asked = { pass: "all", order: "run", measure: "causes" };
const charts = { cycles: new LayerChart("cycles"), occupancy: new LayerChart("occupancy") };

const MEASURES = {
  causes: { title: "cycles", heading: "Cycles by cause", key: "causes", unit: whole.format, scale: 1, suffix: "" },
  components: {
    title: "energy", heading: "Energy by component", key: "energy_by_component_pj", unit: joules, scale: 1e-12,
    suffix: "J",
  },
};

function drawCycles() {
  const { title, heading, key, unit, scale, suffix } = MEASURES[asked.measure];
  const rows = rowsOf(asked.pass, asked.order);
  const parts = Object.entries(words[asked.measure]).filter(([name]) => rows.some((row) => row[key][name]));
  const sum = (row) => Object.values(row[key]).reduce((a, b) => a + b, 0);
  const which = asked.pass === "all" ? "all passes" : words.passes[asked.pass];
  document.getElementById("cycles-title").textContent = `${heading}, ${which}: ${whole.format(rows.length)} rows`;
  legend("cycles-legend", parts.map(([name, word]) => [word, COLOURS[asked.measure][name]]));
  return charts.cycles.draw(
    rows,
    parts.map(([name]) => [name, COLOURS[asked.measure][name], (row) => row[key][name] * scale]),
    {
      title, suffix, most: 1.02 * scale * Math.max(...rows.map(sum)),
      about: (row) => [
        `<b>${literal(row.name)}</b>`, `${unit(sum(row))} in all`,
        ...parts.filter(([name]) => row[key][name]).map(([name, word]) => `${word}: ${unit(row[key][name])}`),
      ].join("<br>"),
    },
  );
}

const OCCUPANCY = {
  useful: ["useful", ({ macs }) => macs],
  edges: ["tiles that do not fill the array", ({ edges }) => edges],
  waiting: ["waiting, filling, draining", ({ weights, sums, fill, dram_bandwidth, dram_latency }) =>
    weights + sums + fill + dram_bandwidth + dram_latency],
};

function drawOccupancy() {
  const rows = rowsOf(asked.pass, asked.order, (task) => task.unit === "array");
  const parts = Object.entries(OCCUPANCY);
  legend("occupancy-legend", rows.length ? parts.map(([name, [word]]) => [word, COLOURS.occupancy[name]])
    : [["no products on the array here", "#ffffff", "bare"]]);
  return charts.occupancy.draw(
    rows,
    parts.map(([name, [, value]]) => [name, COLOURS.occupancy[name], (row) => (100 * value(row.causes)) / row.cycles]),
    {
      title: "cycles of the layer's products, %", suffix: "", most: 100,
      about: (row) => [
        `<b>${literal(row.name)}</b>`,
        ...parts.map(([, [word, value]]) => `${word}: ${percent(value(row.causes) / row.cycles)}`),
      ].join("<br>"),
    },
  );
}

const drawLayers = () => Promise.all([drawCycles(), drawOccupancy()]);
