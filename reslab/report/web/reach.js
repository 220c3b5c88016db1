// The reach: a column of layers per arm on one colour scale, bright where a gradient (or another probe) is
// large, over the training steps; beside it the same values as a line over depth.

const DECADES = 15; // of a logarithmic scale, below its largest value
const COLUMNS = 6; // arms side by side
const reachView = { at: null, probe: "resid_gradient", place: null, timer: null };

// The common scale of some lists: {low, high, place(value) -> 0..1}. Zeros and what lies below are darkest.
function commonScale(lists, kind) {
  const values = lists.flat().filter((v) => v !== null && (kind === "linear" || v > 0));
  const high = !values.length ? 1 : values.reduce((a, b) => Math.max(a, b));
  if (kind === "linear") {
    const low = Math.min(
      0,
      values.reduce((a, b) => Math.min(a, b), 0),
    );
    return { low, high, floored: false, place: (v) => (v - low) / (high - low || 1) };
  }
  const least = values.length ? values.reduce((a, b) => Math.min(a, b)) : 0.1;
  const low = Math.min(high / 10, Math.max(least, high * 10 ** -DECADES));
  const span = Math.log(high / low);
  return { low, high, floored: least < low, place: (v) => (v > 0 ? Math.log(v / low) / span : 0) };
}

function buildReach(root) {
  const view = reachView;
  view.choice = choice("show", [], (event) => {
    view.probe = event.target.value;
    drawReach();
  });
  view.steps = range("training step", (event) => {
    view.at = view.measured[event.target.value];
    drawReach();
  });
  view.play = el("button", { type: "button", "aria-pressed": "false", onclick: toggleReach }, "▶ Play");
  view.scale = el("div", { class: "scale" });
  view.columns = el("div", { class: "columns" });
  view.chart = chart("reach");
  view.note = el("p", { class: "soft small" });
  view.root = root;
  root.tabIndex = 0;
  root.addEventListener("keydown", reachKey);
  root.append(
    el("h2", {}, "The reach"),
    el(
      "p",
      { class: "soft" },
      "One column per arm: the head and the loss are at the top, the first layer at the bottom; the gradient ",
      "comes from above. Space plays the training, the arrow keys step through it; point at a column for the value.",
    ),
    el("div", { class: "controls" }, view.choice.root, view.play, view.steps.root),
    el("div", { class: "picture" }, view.scale, el("div", { class: "reach" }, view.columns, view.chart.root)),
    view.note,
  );
}

function reachKey(event) {
  const tag = event.target.tagName;
  if (event.key === " " && tag !== "BUTTON" && tag !== "SELECT") {
    event.preventDefault();
    toggleReach();
  } else if (/^Arrow(Left|Right)$/.test(event.key) && tag !== "INPUT" && tag !== "SELECT") {
    event.preventDefault();
    stepReach(event.key === "ArrowRight" ? 1 : -1);
  }
}

function toggleReach() {
  const view = reachView;
  if (view.timer) return stopReach();
  if (Number(view.steps.input.value) >= view.measured.length - 1) view.at = view.measured[0];
  view.timer = setInterval(() => stepReach(1) || stopReach(), 700);
  view.play.setAttribute("aria-pressed", "true");
  view.play.textContent = "❚❚ Pause";
  drawReach();
}

function stopReach() {
  clearInterval(reachView.timer);
  reachView.timer = null;
  reachView.play.setAttribute("aria-pressed", "false");
  reachView.play.textContent = "▶ Play";
}

// Moves by some measured steps; false where there are none left.
function stepReach(by) {
  const to = Number(reachView.steps.input.value) + by;
  if (to < 0 || to >= reachView.measured.length) return false;
  reachView.at = reachView.measured[to];
  drawReach();
  return true;
}

function drawReach() {
  const view = reachView;
  const options = probeOptions(page.data.runs, false);
  view.root.hidden = !options.length;
  if (!options.some(([name]) => name === view.probe)) view.probe = options[0]?.[0];
  fill(view.choice.input, options, view.probe);
  if (!options.length) return;
  const { label, scale: kind } = probeFacts(view.probe);
  const able = shownRuns().filter((run) => run.probes.values.some((row) => Array.isArray(row[view.probe])));
  const runs = spread(able, COLUMNS);
  view.measured = probedSteps(runs);
  setRange(view.steps, view.measured, view.at);
  const at = view.measured[view.steps.input.value];
  const lists = runs.flatMap((run) => run.probes.values.map((row) => flat(row[view.probe] ?? []).values));
  const scale = commonScale(lists, kind);
  const lists_at = runs.map((run) => probeAt(run, view.probe, at));
  drawScale(view.scale, scale, label);
  // The elements stay while the runs do, so that the pointer and the focus keep their place.
  const key = runs.map((run) => run.folder).join("\n");
  if (view.key !== key) {
    view.key = key;
    view.cells = runs.map(reachColumn);
    view.columns.replaceChildren(...view.cells.map((cell) => cell.root));
  }
  for (const [k, cell] of view.cells.entries()) fillColumn(cell, runs[k], lists_at[k], scale);
  drawDepth(view.chart, runs, lists_at, scale);
  view.note.textContent = leftOut(runs, able);
}

function drawScale(root, scale, label) {
  const canvas = el("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  for (let k = 0; k < 256; k++) {
    context.fillStyle = `rgb(${viridis(k / 255).join()})`;
    context.fillRect(k, 0, 1, 1);
  }
  root.replaceChildren(
    el("span", {}, `${scale.floored ? "≤ " : ""}${shown(scale.low, 2)}`),
    canvas,
    el("span", {}, shown(scale.high, 2)),
    el("span", { class: "soft" }, label),
  );
}

function reachColumn(run) {
  const cell = {
    canvas: el("canvas", { tabindex: 0, role: "img" }),
    output: el("output"),
    top: el("div", { class: "place" }),
    place: null,
  };
  const point = (event) => {
    const box = cell.canvas.getBoundingClientRect();
    cell.place = 1 - (event.clientY - box.top) / box.height;
    tellColumn(cell);
  };
  cell.canvas.addEventListener("pointermove", point);
  cell.canvas.addEventListener("pointerdown", point);
  cell.canvas.addEventListener("keydown", (event) => {
    const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!by || !cell.values) return;
    event.preventDefault();
    const layer = Math.min(cell.values.length - 1, Math.max(0, placeLayer(cell) + by));
    cell.place = (layer + 0.5) / cell.values.length;
    tellColumn(cell);
  });
  cell.root = el(
    "div",
    { class: "column", "data-run": run.name },
    el("h3", {}, run.label),
    cell.top,
    cell.canvas,
    el("div", { class: "place" }, "layer 0"),
    cell.output,
  );
  return cell;
}

const placeLayer = (cell) =>
  Math.min(cell.values.length - 1, Math.max(0, Math.floor(cell.place * cell.values.length)));

function fillColumn(cell, run, list, scale) {
  cell.values = list?.values ?? null;
  cell.name = (k) => placeName(run, reachView.probe, k, list.parts);
  const count = cell.values?.length ?? 1;
  // A list over the stream has one value more than its layers have sites: what the head reads.
  const behind = list && count > run.layers * perLayer(reachView.probe, list.parts);
  cell.top.textContent = behind ? "head" : `layer ${run.layers - 1}`;
  // One pixel per layer, stretched by the browser: sharp for few layers, averaged for more than fit.
  cell.canvas.width = 1;
  cell.canvas.height = count;
  cell.canvas.style.imageRendering = count < 200 ? "pixelated" : "auto";
  const context = cell.canvas.getContext("2d");
  (cell.values ?? []).forEach((value, layer) => {
    context.fillStyle = value === null ? "#888" : `rgb(${viridis(scale.place(value)).join()})`;
    context.fillRect(0, count - 1 - layer, 1, 1);
  });
  cell.place ??= 0;
  tellColumn(cell, list?.step);
}

function tellColumn(cell, step = cell.step) {
  cell.step = step;
  if (!cell.values) {
    cell.output.textContent = "not measured yet";
    return;
  }
  const layer = placeLayer(cell);
  cell.output.textContent = `${cell.name(layer)}: ${shown(cell.values[layer])}`;
  cell.output.dataset.layer = layer;
  cell.output.dataset.step = step;
  cell.output.dataset.value = cell.values[layer] ?? "";
  cell.canvas.setAttribute("aria-label", `${cell.output.textContent}, at step ${step}`);
}

// The columns as lines, with the layers upwards as in the columns.
function drawDepth(drawn, runs, lists, scale) {
  const { label, scale: kind } = probeFacts(reachView.probe);
  const per = Math.max(...lists.map((list) => perLayer(reachView.probe, list?.parts ?? 1)), 1);
  const traces = runs.map((run, k) => {
    const { values, parts } = lists[k] ?? { values: [], parts: 1 };
    return {
      x: values.map((v) => (kind === "log" && !(v > 0) ? null : v)),
      y: values.map((_, place) => place / per),
      text: values.map((_, place) => placeName(run, reachView.probe, place, parts)),
      name: run.label,
      mode: values.length > 60 ? "lines" : "lines+markers",
      line: lineOf(run),
      marker: { size: 5 },
      hovertemplate: "%{text}: %{x:.3g}<extra></extra>",
    };
  });
  const log = {
    type: "log",
    exponentformat: "power",
    range: [Math.log10(scale.low) - 0.3, Math.log10(scale.high) + 0.3],
  };
  // As high as the columns beside it, layer by layer.
  const canvas = reachView.cells[0]?.canvas;
  const top = Math.max(40, canvas ? canvas.offsetTop - reachView.columns.offsetTop : 40);
  const count = Math.max(1, ...lists.map((list) => list?.values.length ?? 0));
  drawn.draw(traces, {
    height: top + (canvas?.clientHeight ?? 400) + 54,
    margin: { t: top, b: 54 },
    xaxis:
      kind === "log"
        ? { ...log, title: { text: label } }
        : { title: { text: label }, range: [scale.low, scale.high * 1.04] },
    yaxis: {
      title: { text: "layer" },
      tickformat: "d",
      ...(count < 12 * per ? { dtick: 1 } : {}),
      range: [-0.5 / per, (count - 0.5) / per],
    },
  });
}

page.sections.push({ id: "reach", build: buildReach, draw: drawReach });
