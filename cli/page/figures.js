"use strict";
// The simulation's figures, and how numbers and names are written.

const simulation = JSON.parse(document.getElementById("figures").textContent);
const words = simulation.words;
const tasks = simulation.layers;
const passes = Object.keys(words.passes).filter((name) => tasks.some((task) => task.pass === name));

// A colour means the same in every chart: green is useful work, red is DRAM, violet the vector unit, brown updates.
const COLOURS = {
  passes: {
    forward: "#1f6fb4", recompute: "#86b8e3", data_gradient: "#009c95", weight_gradient: "#23395b", update: "#8c6d46",
  },
  causes: {
    macs: "#2a9d5c", edges: "#e9c94b", weights: "#f08a24", sums: "#d977b4", fill: "#8fa3b5",
    vector: "#7b5ea7", update: "#8c6d46", dram_bandwidth: "#c8323a", dram_latency: "#f1a3a6",
  },
  components: {
    mac: "#2a9d5c", accumulator: "#d977b4", scratchpad: "#f08a24", buffer: "#5d7fa3",
    dram: "#c8323a", vector: "#7b5ea7", update: "#8c6d46", leakage: "#b9b4a7",
  },
  occupancy: { useful: "#2a9d5c", edges: "#e9c94b", waiting: "#c3ccd6" },
};

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

// Four digits with the prefix that leaves one to three of them before the point.
function scaled(value, unit) {
  const prefixes = [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3], ["", 1], ["m", 1e-3], ["µ", 1e-6], ["n", 1e-9]];
  const [prefix, scale] = prefixes.find(([, least]) => value >= least) || ["p", 1e-12];
  return `${Number((value / scale).toPrecision(4))} ${prefix}${unit}`;
}

const joules = (picojoules) => scaled(picojoules * 1e-12, "J");
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const time = (cycles) => scaled(cycles / (simulation.clock_mhz * 1e6), "s");

// Plotly takes some HTML and formulas between $ in its labels; a layer's name is to be shown as it is.
function literal(text) {
  const marks = { "&": "&amp;", "<": "&lt;", ">": "&gt;", $: "&#36;" };
  return text.replace(/[&<>$]/g, (mark) => marks[mark]).replace(/\s/g, " ");
}

// A name cut in its middle, where it is wider than `pixels` in the font of the labels.
const FONT = "system-ui, 'Segoe UI', sans-serif";
const LABEL = 11;
const pencil = document.createElement("canvas").getContext("2d");
function width(text) {
  pencil.font = `${LABEL}px ${FONT}`;
  return pencil.measureText(text).width;
}
function fitting(name, pixels) {
  if (width(name) <= pixels) return name;
  const characters = [...name];
  for (let kept = characters.length - 1; kept > 2; kept -= 1) {
    const head = Math.ceil(kept / 3);
    const text = `${characters.slice(0, head).join("")}…${characters.slice(head - kept).join("")}`;
    if (width(text) <= pixels) return text;
  }
  return "…";
}

const added = (list, key) => {
  const sums = {};
  for (const task of list) for (const [name, value] of Object.entries(task[key])) sums[name] = (sums[name] || 0) + value;
  return sums;
};
const total = (list, key) => list.reduce((sum, task) => sum + task[key], 0);
const dram = (task) => task.traffic_bytes.dram_reads + task.traffic_bytes.dram_writes;

// All figures of some tasks together.
function together(list) {
  const products = list.filter((task) => task.unit === "array");
  const cycles = total(products, "cycles");
  return {
    cycles: total(list, "cycles"),
    macs: total(list, "macs"),
    utilization: cycles ? total(products, "macs") / (simulation.peak * cycles) : null,
    causes: added(list, "causes"),
    traffic_bytes: added(list, "traffic_bytes"),
    energy_pj: total(list, "energy_pj"),
    energy_by_component_pj: added(list, "energy_by_component_pj"),
  };
}

// Tasks of a pass (or `all`) by their names, in the order in which they run or with the most cycles first.
function rowsOf(pass, order, wanted = () => true) {
  const rows = new Map();
  for (const task of tasks) {
    if ((pass !== "all" && task.pass !== pass) || !wanted(task)) continue;
    if (!rows.has(task.name)) rows.set(task.name, []);
    rows.get(task.name).push(task);
  }
  const list = [...rows].map(([name, list]) => ({ name, tasks: list, ...together(list) }));
  return order === "largest" ? list.sort((a, b) => b.cycles - a.cycles) : list;
}

function legend(id, entries) {
  const spans = entries.map(([text, colour, shape]) => {
    const span = document.createElement("span");
    span.textContent = text;
    span.className = shape || "";
    span.style.setProperty("--mark", colour);
    return span;
  });
  document.getElementById(id).replaceChildren(...spans);
}
