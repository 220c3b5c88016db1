// The block: x splits, one copy runs through F, the skip carries the other across, the two are summed;
// then the gradient comes back the same ways. Every size is a probe of a run at a chosen layer and step.
"use strict";

// One step each: which way, which wires carry something, which sizes are in play, and what happens.
const BLOCK_STEPS = [
  { way: "forward", wires: ["in"], sizes: ["x"], says: "The stream x arrives at the sublayer." },
  {
    way: "forward", wires: ["in", "skip", "up"], sizes: ["x"],
    says: "x splits. One copy goes into the branch F, the skip carries the original straight across.",
  },
  {
    way: "forward", wires: ["up", "down"], box: true, sizes: ["f", "cos"],
    says: "The branch computes F(x): the only thing in this block that has weights.",
  },
  {
    way: "forward", wires: ["skip", "down", "out"], sizes: ["x", "f", "y"],
    says: "The two are summed: y = x + F(x). If F is 0, y is x: an idle block does no harm.",
  },
  { way: "backward", wires: ["out"], sizes: ["dy"], says: "Backward: the gradient of the loss, dL/dy, arrives." },
  {
    way: "backward", wires: ["out", "skip"], sizes: ["dy", "skip"],
    says: "The derivative of a sum: dy/dx = 1 + dF/dx. One copy takes the +1, past every weight, unchanged.",
  },
  {
    way: "backward", wires: ["out", "down", "up"], box: true, sizes: ["dy", "branch"],
    says: "The other copy goes through dF/dx, and comes out as the weights make it.",
  },
  {
    way: "backward", wires: ["skip", "up", "in"], sizes: ["skip", "branch", "dx"],
    says: "At x the two add up to dL/dx, which goes on to the layer before. Without the skip only dF/dx is left.",
  },
];
const BLOCK_SIZES = {
  x: "stream x, rms",
  f: "branch F(x), rms",
  cos: "cosine of x and F(x)",
  y: "output y, rms",
  dy: "gradient that arrives, ‖dL/dy‖",
  skip: "its part through the skip",
  branch: "its part through the branch",
  dx: "gradient that goes on, ‖dL/dx‖",
};
const WIRES = {
  in: { path: "M20 220 H120", arrow: [72, 220, 0] },
  skip: { path: "M120 220 H423", arrow: [280, 220, 0] },
  up: { path: "M120 220 V100 H205", arrow: [120, 160, -90] },
  down: { path: "M355 100 H440 V203", arrow: [440, 150, 90] },
  out: { path: "M457 220 H540", arrow: [508, 220, 0] },
};
// Without a skip there is no sum: what the branch gives is y.
const CUT_WIRES = { ...WIRES, down: { ...WIRES.down, path: "M355 100 H440 V220" }, out: { ...WIRES.out, path: "M440 220 H540" } };
delete CUT_WIRES.skip;

// The measured sizes of a sublayer (0 attention, 1 MLP) of a layer; null for what was not measured.
function blockSizes(run, layer, kind, step) {
  const k = 2 * layer + kind;
  const pick = (name, at) => probeAt(run, name, step)?.values[at] ?? null;
  // Where a stream stands between two blocks, the probes of the blocks know it too.
  const x = pick("sublayer_rms", k) ?? (kind === 0 ? pick("stream_rms", layer) : null);
  const y = pick("sublayer_rms", k + 1) ?? (kind === 1 ? pick("stream_rms", layer + 1) : null);
  const ratio = pick("branch_ratio", k);
  return {
    x,
    f: x === null || ratio === null ? null : x * ratio,
    cos: pick("branch_cosine", k),
    y,
    dy: pick("output_gradient", k) ?? (kind === 1 ? pick("gradient_norm", layer + 1) : null),
    skip: pick("skip_gradient", k),
    branch: pick("branch_gradient", k),
    dx: pick("input_gradient", k) ?? (kind === 0 ? pick("gradient_norm", layer) : null),
  };
}

const blockView = { step: 0, kind: 0, layer: 0, at: null };

function buildBlock(root) {
  const view = blockView;
  const go = (to) => {
    view.step = Math.max(0, Math.min(BLOCK_STEPS.length - 1, to));
    drawBlock();
  };
  view.back = el("button", { type: "button", "aria-label": "step back", onclick: () => go(view.step - 1) }, "◀");
  view.next = el("button", { type: "button", "aria-label": "next step", onclick: () => go(view.step + 1) }, "Next ▶");
  view.dots = BLOCK_STEPS.map((step, k) =>
    el("button", { type: "button", "data-step": k, "aria-label": `step ${k + 1}, ${step.way}`, onclick: () => go(k) }, String(k + 1)),
  );
  view.says = el("p", { class: "stage", role: "status", "aria-live": "polite" });
  const kinds = [[0, "attention"], [1, "MLP"]];
  view.kinds = choice("sublayer", kinds, (event) => { view.kind = Number(event.target.value); drawBlock(); });
  view.layers = range("layer", (event) => { view.layer = Number(event.target.value); drawBlock(); });
  view.steps = range("training step", (event) => { view.at = view.found[event.target.value]; drawBlock(); });
  view.picks = ["left", "right"].map((side) => choice(side, [], drawBlock));
  view.arms = el("div", { class: "arms" });
  view.root = root;
  root.tabIndex = 0;
  root.addEventListener("keydown", (event) => {
    if (/^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by) {
      event.preventDefault();
      go(view.step + by);
    }
  });
  root.append(
    el("h2", {}, "The block"),
    el("p", { class: "soft" }, "Step through it with the buttons or the arrow keys. The numbers are what the probes measured on a ",
      "fixed batch; a wire is as thick as what it carries, on one scale for all that is shown."),
    el("div", { class: "controls" },
      el("span", { class: "buttons", role: "group", "aria-label": "steps" }, view.back, ...view.dots, view.next)),
    view.says,
    view.arms,
    el("div", { class: "controls" }, view.layers.root, view.steps.root, view.kinds.root, ...view.picks.map((p) => p.root)),
  );
}

function drawBlock() {
  const view = blockView;
  const probed = shownRuns().filter((run) => run.probes.steps.length);
  view.root.hidden = !page.data.runs.length;
  fillPicks(view.picks, probed);
  const runs = view.picks.filter((p) => !p.root.hidden).map((p) => probed.find((run) => run.folder === p.input.value));
  const step = BLOCK_STEPS[view.step];
  view.says.textContent = runs.length ? step.says : "None of the runs shown has probes, so there is nothing measured to show here.";
  view.back.disabled = view.step === 0;
  view.next.disabled = view.step === BLOCK_STEPS.length - 1;
  view.dots.forEach((dot, k) => {
    if (k === view.step) dot.setAttribute("aria-current", "step");
    else dot.removeAttribute("aria-current");
  });
  view.found = probedSteps(runs);
  setRange(view.steps, view.found, view.at);
  const depth = Math.max(1, ...runs.map((run) => run.layers));
  view.layer = Math.min(view.layer, depth - 1);
  view.layers.input.max = depth - 1;
  view.layers.input.value = view.layer;
  view.layers.output.textContent = `${view.layer} of ${depth}`;
  const at = view.found[view.steps.input.value];
  const measured = runs.map((run) => blockSizes(run, Math.min(view.layer, run.layers - 1), view.kind, at));
  const keys = step.way === "forward" ? ["x", "f", "y"] : ["dy", "skip", "branch", "dx"];
  const most = Math.max(...measured.flatMap((sizes) => keys.map((key) => sizes[key] ?? 0)));
  view.arms.replaceChildren(...runs.map((run, k) => blockArm(run, measured[k], step, most, at)));
}

// The two selects: a run with a skip and one without, where there are such; one run needs only one.
function fillPicks(picks, runs) {
  const options = runs.map((run) => [run.folder, run.label]);
  const first = runs.find((run) => run.wiring.attn.skip !== 0) ?? runs[0];
  const second = runs.find((run) => run.wiring.attn.skip === 0 && run !== first) ?? runs.find((run) => run !== first);
  [first, second].forEach((wanted, k) => {
    const kept = runs.some((run) => run.folder === picks[k].input.value);
    fill(picks[k].input, options, kept ? picks[k].input.value : wanted?.folder);
    picks[k].root.hidden = !wanted;
  });
}

// A range over measured steps; it stands on `wanted`, or on the last one.
function setRange(control, steps, wanted) {
  const at = steps.indexOf(wanted);
  control.input.max = Math.max(0, steps.length - 1);
  control.input.value = at < 0 ? steps.length - 1 : at;
  const step = steps[control.input.value];
  control.output.textContent = step === undefined ? "–" : String(step);
  control.input.setAttribute("aria-valuetext", `step ${step}`);
}

// One arm: its equation, the drawing and the list of sizes.
function blockArm(run, sizes, step, most, at) {
  const kind = ["attn", "mlp"][blockView.kind];
  const wiring = run.wiring[kind];
  const layer = Math.min(blockView.layer, run.layers - 1);
  const rows = Object.entries(BLOCK_SIZES).flatMap(([key, label]) => {
    const on = step.sizes.includes(key) ? "on" : "";
    const why = wiring.skip === null && sizes[key] === null ? "no constant skip, not split" : shown(sizes[key]);
    return [el("dt", { class: on }, label), el("dd", { class: on, "data-key": key, "data-value": sizes[key] ?? "" }, why)];
  });
  const probe = probeAt(run, "stream_rms", at);
  const shift = probe && probe.step !== at ? ` (measured at step ${probe.step})` : "";
  return el("div", { class: "arm", "data-run": run.name },
    el("h3", {}, `${run.label}: layer ${layer}, ${["attention", "MLP"][blockView.kind]}${shift}`),
    el("p", { class: "equation soft" }, wiring.equation.replaceAll("`", "") || `wiring: ${run.arm}`),
    blockDrawing(run, sizes, step, most, wiring.skip),
    el("dl", {}, ...rows));
}

function blockDrawing(run, sizes, step, most, skip) {
  const back = step.way === "backward";
  const drawing = svg("svg", {
    viewBox: "0 0 560 290", class: `drawing ${step.way}`, role: "img",
    "aria-label": `${run.label}: ${skip === 0 ? "the skip is cut" : "x goes past the branch on the skip"}. ${step.says}`,
  });
  const carried = back
    ? { in: sizes.dx, skip: sizes.skip, up: sizes.branch, down: sizes.dy, out: sizes.dy }
    : { in: sizes.x, skip: sizes.x === null || skip === null ? null : skip * sizes.x, up: sizes.x, down: sizes.f, out: sizes.y };
  for (const [name, wire] of Object.entries(skip === 0 ? CUT_WIRES : WIRES)) {
    const width = carried[name] === null || !most ? 2 : 1.2 + 9.5 * (carried[name] / most);
    drawWire(drawing, name, wire, step.wires.includes(name), width, back, name === "skip" && skip === null);
  }
  if (skip === 0) drawCut(drawing);
  const box = step.box ? "box on" : "box";
  drawing.append(
    svg("rect", { x: 205, y: 62, width: 150, height: 76, rx: 10, class: box }),
    svg("text", { x: 280, y: 97, class: "math" }, back ? "dF/dx" : "F(x)"),
    svg("text", { x: 280, y: 124, class: "label" }, ["attention", "MLP"][blockView.kind]),
    svg("circle", { cx: 120, cy: 220, r: 5, fill: css("--ink") }),
  );
  if (skip !== 0) {
    drawing.append(svg("circle", { cx: 440, cy: 220, r: 17, class: "box" }), svg("text", { x: 440, y: 227 }, "+"));
  }
  const on = (key) => `value ${step.sizes.includes(key) ? "on" : ""}`;
  const [left, right, top, low] = back ? ["dx", "dy", "branch", "skip"] : ["x", "y", "f", "x"];
  drawing.append(
    svg("text", { x: 60, y: 196, class: "math" }, back ? "dL/dx" : "x"),
    svg("text", { x: 64, y: 258, class: on(left) }, shown(sizes[left])),
    svg("text", { x: 504, y: 196, class: "math" }, back ? "dL/dy" : "y"),
    svg("text", { x: 500, y: 258, class: on(right) }, shown(sizes[right])),
    svg("text", { x: 280, y: 24, class: "label" }, back ? "through the branch" : "what the branch adds"),
    svg("text", { x: 280, y: 48, class: on(top) }, shown(sizes[top])),
    svg("text", { x: 280, y: 282, class: "label" }, skipLabel(skip, back)),
  );
  if (skip !== 0) {
    const size = back || skip === null ? sizes[low] : skip * (sizes.x ?? Number.NaN);
    drawing.append(svg("text", { x: 280, y: 258, class: on(low) }, skip === null && !back ? "" : shown(Number.isNaN(size) ? null : size)));
  }
  return drawing;
}

function skipLabel(skip, back) {
  if (skip === 0) return back ? "no +1: only dF/dx is left" : "the skip is cut";
  if (skip === null) return "the skip is no constant times x";
  const weight = shown(skip);
  return back ? `through the skip, × ${weight}` : skip === 1 ? "the skip: x itself" : `the skip: ${weight} x`;
}

function drawWire(drawing, name, { path, arrow: [x, y, turn] }, on, width, back, dashed) {
  const state = on ? "on" : "";
  const wire = svg("path", { d: path, class: `wire ${state}`, "stroke-width": width.toFixed(2), "data-wire": name });
  if (dashed) wire.setAttribute("stroke-dasharray", "9 9");
  drawing.append(wire);
  if (!on) return;
  if (width > 4) drawing.append(svg("path", { d: path, class: "flow on" }));
  const size = 8 + width / 2;
  drawing.append(svg("path", {
    d: `M${-size} ${-size} L${size} 0 L${-size} ${size} Z`, fill: css(back ? "--backward" : "--forward"),
    transform: `translate(${x} ${y}) rotate(${turn + (back ? 180 : 0)})`,
  }));
}

// What is left of the skip: two stubs with a gap.
function drawCut(drawing) {
  for (const path of ["M128 220 H215", "M345 220 H428"]) {
    drawing.append(svg("path", { d: path, class: "wire", "stroke-width": 2, "stroke-dasharray": "3 8", "data-wire": "cut" }));
  }
  for (const x of [222, 338]) drawing.append(svg("path", { d: `M${x - 7} 234 L${x + 7} 206`, class: "cut" }));
}

page.sections.push({ id: "block", build: buildBlock, draw: drawBlock });
