// The reach: a column of layers per arm on one colour scale, bright where a gradient (or another quantity)
// arrives, over the training steps; beside it the same values as a line over depth.

// Probe -> [words, scale, what one value belongs to].
const QUANTITIES = {
  gradient_norm: ["gradient that arrives, ‖dL/dh‖", "log", "stream before layer"],
  position0_share: ["share of the gradient on the first token", "linear", "stream before layer"],
  qk_gradient: ["gradient of Q and K", "log", "layer"],
  token_diversity: ["token diversity", "log", "stream before layer"],
  stream_rms: ["stream, rms", "log", "stream before layer"],
};
const DECADES = 15; // of a logarithmic scale, below its largest value
const COLUMNS = 6; // arms side by side
const reachView = { at: null, quantity: "gradient_norm", place: null, timer: null };

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
  const options = Object.entries(QUANTITIES).map(([key, [words]]) => [key, words]);
  view.choice = choice("show", options, (event) => {
    view.quantity = event.target.value;
    drawReach();
  });
  view.steps = range("training step", (event) => {
    view.at = view.found[event.target.value];
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
  if (Number(view.steps.input.value) >= view.found.length - 1) view.at = view.found[0];
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
  if (to < 0 || to >= reachView.found.length) return false;
  reachView.at = reachView.found[to];
  drawReach();
  return true;
}

function drawReach() {
  const view = reachView;
  const [words, kind, what] = QUANTITIES[view.quantity];
  const able = shownRuns().filter((run) =>
    run.probes.values.some((row) => Array.isArray(row[view.quantity])),
  );
  const runs = spread(able, COLUMNS);
  view.found = probedSteps(runs);
  setRange(view.steps, view.found, view.at);
  const at = view.found[view.steps.input.value];
  const lists = runs.flatMap((run) => run.probes.values.map((row) => row[view.quantity] ?? []));
  const scale = commonScale(lists, kind);
  const found = runs.map((run) => probeAt(run, view.quantity, at));
  drawScale(view.scale, scale, words);
  // The elements stay while the runs do, so that the pointer and the focus keep their place.
  const key = runs.map((run) => run.folder).join("\n");
  if (view.key !== key) {
    view.key = key;
    view.cells = runs.map(reachColumn);
    view.columns.replaceChildren(...view.cells.map((cell) => cell.root));
  }
  for (const [k, cell] of view.cells.entries()) fillColumn(cell, runs[k], found[k], scale, what);
  drawDepth(view.chart, runs, found, scale, kind, words, what);
  view.note.textContent = leftOut(runs, able);
}

function drawScale(root, scale, words) {
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
    el("span", { class: "soft" }, words),
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

function fillColumn(cell, run, found, scale, what) {
  cell.values = found?.values ?? null;
  cell.what = what;
  const count = cell.values?.length ?? 1;
  cell.top.textContent = count > run.layers ? "head" : `layer ${count - 1}`;
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
  tellColumn(cell, found?.step);
}

function tellColumn(cell, step = cell.step) {
  cell.step = step;
  if (!cell.values) {
    cell.output.textContent = "not measured yet";
    return;
  }
  const layer = placeLayer(cell);
  cell.output.textContent = `${cell.what} ${layer}: ${shown(cell.values[layer])}`;
  cell.output.dataset.layer = layer;
  cell.output.dataset.step = step;
  cell.output.dataset.value = cell.values[layer] ?? "";
  cell.canvas.setAttribute("aria-label", `${cell.output.textContent}, at step ${step}`);
}

// The columns as lines, with the layers upwards as in the columns.
function drawDepth(drawn, runs, found, scale, kind, words, what) {
  const traces = runs.map((run, k) => {
    const values = found[k]?.values ?? [];
    return {
      x: values.map((v) => (kind === "log" && !(v > 0) ? null : v)),
      y: values.map((_, layer) => layer),
      name: run.label,
      mode: values.length > 60 ? "lines" : "lines+markers",
      line: lineOf(run),
      marker: { size: 5 },
      hovertemplate: `${what} %{y}: %{x:.3g}<extra></extra>`,
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
  const count = Math.max(1, ...found.map((one) => one?.values.length ?? 0));
  drawn.draw(traces, {
    height: top + (canvas?.clientHeight ?? 400) + 54,
    margin: { t: top, b: 54 },
    xaxis:
      kind === "log"
        ? { ...log, title: { text: words } }
        : { title: { text: words }, range: [scale.low, scale.high * 1.04] },
    yaxis: {
      title: { text: what },
      tickformat: "d",
      ...(count < 12 ? { dtick: 1 } : {}),
      range: [-0.5, count - 0.5],
    },
  });
}

page.sections.push({ id: "reach", build: buildReach, draw: drawReach });
