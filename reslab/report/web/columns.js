// A column of layers: bright where a gradient (or another probe) is large, on a scale that all arms share.

const DECADES = 15; // of a logarithmic scale, below its largest value
const ABOVE = 1000; // a logarithmic scale ends there, times the largest value of a usual list

// The common scale of some lists: {low, high, place(value) -> 0..1}. Zeros and what lies below are darkest.
// One list whose values are far above all others, as where a gradient explodes at step 0, does not darken
// the rest: what lies beyond `high` is brightest, and `most` is the largest value.
function commonScale(lists, kind) {
  const values = lists.flat().filter((v) => v !== null && (kind === "linear" || v > 0));
  const most = !values.length ? 1 : values.reduce((a, b) => Math.max(a, b));
  if (kind === "linear") {
    const low = Math.min(
      0,
      values.reduce((a, b) => Math.min(a, b), 0),
    );
    return { low, high: most, most, floored: false, place: (v) => (v - low) / (most - low || 1) };
  }
  const tops = lists.map((list) => Math.max(0, ...list.filter((v) => v !== null))).sort((a, b) => a - b);
  const high = Math.min(most, ABOVE * tops[Math.floor(tops.length / 2)] || most);
  const least = values.length ? values.reduce((a, b) => Math.min(a, b)) : 0.1;
  const low = Math.min(high / 10, Math.max(least, high * 10 ** -DECADES));
  const span = Math.log(high / low);
  const place = (v) => (v > 0 ? Math.min(1, Math.log(v / low) / span) : 0);
  return { low, high, most, floored: least < low, place };
}

function drawScale(root, scale, label) {
  const canvas = el("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  for (let k = 0; k < 256; k++) {
    context.fillStyle = `rgb(${viridis(k / 255).join()})`;
    context.fillRect(k, 0, 1, 1);
  }
  root.replaceChildren(
    el("span", {}, lowEnd(scale)),
    canvas,
    el("span", {}, highEnd(scale)),
    el("span", { class: "soft" }, label),
  );
}

// The ends of a scale in words, with a sign where values lie beyond.
const lowEnd = (scale) => `${scale.floored ? "≤ " : ""}${shown(scale.low, 2)}`;
const highEnd = (scale) => `${scale.high < scale.most ? "≥ " : ""}${shown(scale.high, 2)}`;

// The column of a run, under a name.
function reachColumn(run, name = nameOf(run)) {
  const cell = {
    canvas: el("canvas", { tabindex: 0, role: "img" }),
    output: el("output", { "aria-live": "off" }),
    top: el("div", { class: "place" }),
    place: null,
    runName: name,
  };
  const point = (event) => {
    const box = cell.canvas.getBoundingClientRect();
    cell.place = 1 - (event.clientY - box.top) / box.height;
    tellColumn(cell);
  };
  cell.canvas.addEventListener("pointermove", point);
  cell.canvas.addEventListener("pointerdown", point);
  cell.canvas.addEventListener("keydown", (event) => {
    if (!cell.values) return;
    const last = cell.values.length - 1;
    const at = placeLayer(cell);
    const to = { ArrowUp: at + 1, ArrowDown: at - 1, PageUp: last, PageDown: 0 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    cell.place = (Math.min(last, Math.max(0, to)) + 0.5) / cell.values.length;
    tellColumn(cell);
    announce(`${name}, ${cell.output.textContent}`);
  });
  cell.root = el(
    "div",
    { class: "column", "data-run": run.name },
    el("p", { class: "name" }, name),
    cell.top,
    cell.canvas,
    el("div", { class: "place" }, "layer 0"),
    cell.output,
  );
  return cell;
}

const placeLayer = (cell) =>
  Math.min(cell.values.length - 1, Math.max(0, Math.floor(cell.place * cell.values.length)));

// Show a probe's list (see probeAt) in a column; `cell.asked` is the step that it is to be of.
function fillColumn(cell, run, probe, list, scale) {
  cell.values = list?.values ?? null;
  cell.name = (k) => placeName(run, probe, k, list.parts).replace(", resid_pre", ""); // where a layer begins
  const count = cell.values?.length ?? 1;
  // A list over the stream has one value more than its layers have sites: what the head reads.
  const behind = list && count > run.layers * perLayer(probe, list.parts);
  cell.head = behind ? "head" : `layer ${run.layers - 1}`;
  cell.top.textContent = cell.head;
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
  const earlier = step === cell.asked ? "" : `, at step ${step}`;
  cell.output.textContent = `${cell.name(layer)}: ${shown(cell.values[layer])}${earlier}`;
  cell.output.dataset.layer = layer;
  cell.output.dataset.step = step;
  cell.output.dataset.value = cell.values[layer] ?? "";
  cell.canvas.setAttribute("aria-label", `${cell.runName}: ${cell.output.textContent}, at step ${step}`);
}
