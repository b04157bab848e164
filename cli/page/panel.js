// The figures of one layer, of all its tasks or of one of them.

let chosen = { name: "", tasks: [] };

const number = (value) => (value === null || value === undefined ? "" : whole.format(value));
const share = (value) => (value === null ? "" : percent(value));
const SHAPE = { m: "M", k: "K", n: "N", groups: "groups", repeats: "repeats" };

// Rows of the table: id of the first value's cell, heading, value of a column, how it is written, colour, weight.
function lines() {
  const line = (id, word, value, write, more) => ({ id, word, value, write, ...more });
  const named = (kind, key, write) => Object.entries(words[kind]).map(([name, word]) =>
    line(`layer-${kind}-${name}`, word, (of) => of[key][name], write, { colour: (COLOURS[kind] || {})[name] }));
  return [
    ...Object.entries(SHAPE).map(([key, word]) => line(`layer-${key}`, word, (of) => of[key], number)),
    line("layer-macs", "MACs", (of) => of.macs, number),
    { head: "Cycles" },
    line("layer-cycles", "all", (of) => of.cycles, number, { sum: true }),
    line("layer-time", "time", (of) => of.cycles, time),
    line("layer-utilization", "utilisation of the array", (of) => of.utilization, share),
    ...named("causes", "causes", number),
    { head: "Energy" },
    line("layer-energy", "all", (of) => of.energy_pj, joules, { sum: true }),
    ...named("components", "energy_by_component_pj", joules),
    { head: "Bytes moved" },
    ...named("traffic", "traffic_bytes", number),
  ];
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function show() {
  const several = chosen.tasks.length > 1;
  const columns = [...(several ? [together(chosen.tasks)] : []), ...chosen.tasks];
  document.getElementById("layer-name").textContent = chosen.name;
  const layers = [...new Set(chosen.tasks.flatMap((task) => task.layers))];
  document.getElementById("layer-chain").textContent = layers.length > 1 ? layers.join(", ") : "";
  const head = element("tr", "");
  head.append(element("th", ""), ...columns.map((of, index) => {
    const text = of.pass === undefined ? "all" : `${words.passes[of.pass]}, ${of.unit} unit`;
    return element("th", text, index ? {} : { id: "layer-pass" });
  }));
  const body = lines().map((line) => {
    const row = element("tr", "", { class: line.head ? "head" : line.sum ? "sum" : "" });
    const title = element("th", line.head || line.word);
    row.append(title);
    if (line.head) return row;
    if (line.colour) {
      const mark = element("i", "");
      mark.style.setProperty("--mark", line.colour);
      title.prepend(mark);
    }
    const values = columns.map(line.value);
    if (!values.some(Boolean)) row.className = "nothing";
    row.append(...values.map((value, index) =>
      element("td", value === undefined ? "" : line.write(value), index ? {} : { id: line.id })));
    return row;
  });
  const table = document.getElementById("layer-table");
  table.replaceChildren(element("thead", ""), element("tbody", ""));
  table.tHead.append(head);
  table.tBodies[0].append(...body);
}

// Show tasks of one name in the panel and mark them in the charts.
function choose(name, list, reveal = true) {
  chosen = { name, tasks: list };
  show();
  return Promise.all([markTime(list), markRoofline(list), ...Object.values(charts).map((chart) => chart.mark(reveal))]);
}
