// Draw everything, and listen.

function addSwitch() {
  const choices = ["all", ...passes].map((pass) => {
    const label = element("label", pass === "all" ? "all" : words.passes[pass]);
    const button = element("input", "", { type: "radio", name: "pass", value: pass });
    button.checked = pass === asked.pass;
    label.prepend(button);
    return label;
  });
  document.getElementById("pass-switch").append(...choices);
}

function listen() {
  document.getElementById("switches").addEventListener("change", () => {
    asked.pass = document.querySelector("input[name=pass]:checked").value;
    asked.order = document.getElementById("order").value;
    asked.measure = document.getElementById("measure").value;
    drawLayers();
  });
  const names = [...new Set(tasks.map((task) => task.name))];
  document.getElementById("layer-names").append(...names.map((name) => element("option", "", { value: name })));
  document.getElementById("layer-search").addEventListener("change", (event) => {
    const own = tasks.filter((task) => task.name === event.target.value);
    if (own.length) choose(own[0].name, own);
  });
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    drawLayers();
    drawRoofline();
    markRoofline(chosen.tasks);
    nameTasks();
  });
}

addSwitch();
drawTime();
drawRoofline();
drawEnergy();
listen();
drawLayers().then(() => {
  const [first] = rowsOf("all", "largest");
  return choose(first.name, first.tasks, false);
}).then(() => { document.body.dataset.ready = "yes"; });
