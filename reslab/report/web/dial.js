// The dial: the weight of the skip, the depth and the training step, and the reach that was measured there. Its
// numbers are experiments/dial/result.json; between two measured stacks there is nothing, so the dial snaps.

const dialView = { weight: 1, layers: 64, step: 0 };
const DIAL_LINK = { weight: "skip", layers: "layers", step: "updates" }; // what the address calls its choices

// A column of values, the last on top, in the colours of a scale.
function gradientColumn(values, scale, { title, top, foot, label }) {
  const canvas = el("canvas", {
    role: "img",
    width: 1,
    height: Math.max(1, values.length),
    "aria-label": label,
  });
  const context = canvas.getContext("2d");
  canvas.style.imageRendering = "pixelated";
  values.forEach((value, k) => {
    context.fillStyle = `rgb(${viridis(scale.place(value)).join()})`;
    context.fillRect(0, values.length - 1 - k, 1, 1);
  });
  return el(
    "div",
    { class: "column" },
    el("h3", {}, title),
    el("div", { class: "place" }, top),
    canvas,
    el("div", { class: "place" }, foot),
  );
}

// A range over some values, of which one is chosen: drag(value) is called with the others.
function stops(label, values, text, drag) {
  const control = range(label, (event) => drag(values[event.target.value]));
  control.input.max = values.length - 1;
  control.show = (value) => {
    control.input.value = values.indexOf(value);
    control.output.textContent = text(value);
    control.input.setAttribute("aria-valuetext", text(value));
  };
  return control;
}

function buildDial(root) {
  const view = dialView;
  view.root = root;
  view.runs = page.data.dial?.runs ?? [];
  if (!view.runs.length) return;
  const over = (pick) => [...new Set(view.runs.flatMap(pick))].sort((a, b) => a - b);
  view.weights = over((run) => [run.residual_scale]);
  view.depths = over((run) => [run.n_layer]);
  view.at = over((run) => run.probed.map((probe) => probe.step));
  view.weight = linkChoice(DIAL_LINK.weight, view.weights, view.weights.at(-1));
  view.layers = linkChoice(DIAL_LINK.layers, view.depths, view.depths.includes(64) ? 64 : view.depths.at(-1));
  view.step = linkChoice(DIAL_LINK.step, view.at, view.at.at(-1));
  view.scale = commonScale(
    view.runs.flatMap((run) => run.probed.map((probe) => probe.gradient)),
    "log",
  );
  const drag = (key) => (value) => turnDial({ [key]: value });
  view.controls = {
    weight: stops("weight of the skip", view.weights, (v) => `λ = ${v}`, drag("weight")),
    layers: stops("depth", view.depths, (v) => `${v} layers`, drag("layers")),
    step: stops("training step", view.at, String, drag("step")),
  };
  view.says = el("p", { class: "stage" });
  view.column = el("div");
  view.title = el("p", { class: "soft small" });
  view.map = el("div");
  view.legend = el("div", { class: "scale" });
  view.from = el("p", { class: "soft small" });
  root.append(
    el("h2", {}, "The dial: how much of a skip is enough?"),
    el(
      "p",
      { class: "soft" },
      "Drag the weight λ of x in y = λ x + F(N(x)), the depth, and the training step. Each stop is a stack that was ",
      "trained and measured; the dial jumps from one to the next and makes up nothing between them.",
    ),
    el("div", { class: "controls" }, ...Object.values(view.controls).map((control) => control.root)),
    el(
      "div",
      { class: "dial" },
      view.column,
      view.says,
      el("div", { class: "dial-map" }, view.title, view.map),
    ),
    view.legend,
    pictureTools("dial", dialPicture),
    view.from,
    sectionLink("dial"),
  );
}

// Choose another stack or step; the address keeps the choice.
function turnDial(choice) {
  Object.assign(dialView, choice);
  for (const [key, value] of Object.entries(choice)) remember(DIAL_LINK[key], value);
  drawDial();
}

const dialRun = (weight, layers) =>
  dialView.runs.find((run) => run.residual_scale === weight && run.n_layer === layers);
const dialProbe = (run) => run?.probed.find((probe) => probe.step === dialView.step);
// How much of the gradient at the head is there at layer 0.
const arrives = (probe) => (probe.gradient.at(-1) ? probe.gradient[0] / probe.gradient.at(-1) : 0);

function drawDial() {
  const view = dialView;
  view.root.hidden = !view.runs?.length;
  if (view.root.hidden) return;
  for (const [key, control] of Object.entries(view.controls)) control.show(view[key]);
  const run = dialRun(view.weight, view.layers);
  const probe = dialProbe(run);
  const [first, last] = [probe.gradient[0], probe.gradient.at(-1)];
  view.column.replaceChildren(
    gradientColumn(probe.gradient, view.scale, {
      title: `λ = ${view.weight}, ${view.layers} layers`,
      top: `head: ${shown(last)}`,
      foot: `layer 0: ${shown(first)}`,
      label: `gradient at the stream, ${shown(last)} at the head, ${shown(first)} at layer 0`,
    }),
  );
  view.says.textContent = dialSentence(probe);
  view.title.textContent = `Gradient at layer 0 of every stack at step ${view.step}; λ upwards, layers to the right:`;
  view.map.replaceChildren(dialMap());
  drawScale(view.legend, view.scale, "gradient at the stream, ‖dL/dh‖");
  const { date, machine } = page.data.dial;
  view.from.textContent =
    `Measured in run ${run.run} (one of ${view.runs.length} of config/dial.py) at step ${view.step}: ‖dL/dh‖ at ` +
    `${run.places.length} of its ${run.n_layer + 1} places, on one sequence; ${date}, ${machine}.`;
}

// The dial as a picture: the column of the chosen stack, and the map of all.
function dialPicture() {
  const { weight, layers, step, scale } = dialView;
  const { gradient } = dialProbe(dialRun(weight, layers));
  const [first, last] = [gradient[0], gradient.at(-1)].map((value) => shown(value));
  const column = {
    name: `λ = ${weight}, ${layers} layers`,
    values: gradient,
    head: `head: ${last}`,
    note: first,
  };
  const title = `y = λ x + F(N(x)), training step ${step}. ${dialView.title.textContent.replace(/:$/, ".")}`;
  const beside = dialView.map.querySelector("svg");
  const label = "gradient at the stream, ‖dL/dh‖";
  return columnsPicture({
    title,
    columns: [column],
    scale,
    label,
    origin: dialView.from.textContent,
    beside,
  });
}

function dialSentence(probe) {
  const { weight, layers } = dialView;
  const path = weight ** (2 * layers);
  const clean =
    weight === 1
      ? "The skips alone pass on all of it."
      : weight === 0
        ? "There is no skip."
        : `The skips alone pass on λ to the power ${2 * layers}, ${shown(path)}.`;
  const share =
    probe.position0_share > 0.99 ? " All of what arrives is on the first token: it knows no text." : "";
  return `At layer 0 the gradient is ${shown(arrives(probe))} times that at the head. ${clean}${share}`;
}

// All stacks at this step: a cell each, as bright as the gradient at layer 0; the chosen one is framed.
function dialMap() {
  const { weights, depths, layers, weight, scale, step } = dialView;
  const [left, top, wide, high] = [62, 3, 50, 24];
  const drawing = svg("svg", {
    viewBox: `0 0 ${left + wide * depths.length + 4} ${top + high * weights.length + 28}`,
    role: "img",
    class: "drawing",
    "aria-label": `Gradient at layer 0 at step ${step}, over the weight of the skip and the depth`,
  });
  weights.forEach((w, row) => {
    const y = top + high * (weights.length - 1 - row);
    drawing.append(svg("text", { x: left - 8, y: y + 17, class: "tick end" }, String(w)));
    depths.forEach((depth, column) => {
      const probe = dialProbe(dialRun(w, depth));
      if (!probe) return;
      const chosen = w === weight && depth === layers;
      const cell = svg("rect", {
        x: left + wide * column,
        y,
        width: wide - 2,
        height: high - 2,
        fill: `rgb(${viridis(scale.place(probe.gradient[0])).join()})`,
        class: chosen ? "cell chosen" : "cell",
      });
      cell.append(svg("title", {}, `λ = ${w}, ${depth} layers: ${shown(probe.gradient[0])}`));
      cell.addEventListener("click", () => {
        turnDial({ weight: w, layers: depth });
      });
      drawing.append(cell);
    });
  });
  depths.forEach((depth, column) => {
    const x = left + wide * (column + 0.5) - 1;
    drawing.append(
      svg("text", { x, y: top + high * weights.length + 18, class: "tick middle" }, String(depth)),
    );
  });
  return drawing;
}

page.sections.push({ id: "dial", build: buildDial, draw: drawDial });
