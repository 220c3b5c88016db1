// The block: x splits, one copy runs through F, the skip carries the other across, the two are summed;
// then the gradient comes back the same ways. Every size is a probe of a run at a chosen layer and step.

// One step each: which way, which wires carry something, which sizes are in play, and what happens.
const BLOCK_STEPS = [
  { way: "forward", wires: ["in"], sizes: ["x"], says: "The stream x arrives at the sublayer." },
  {
    way: "forward",
    wires: ["in", "skip", "up"],
    sizes: ["x"],
    says: "x splits. One copy goes into the branch F, the skip carries the original straight across.",
  },
  {
    way: "forward",
    wires: ["up", "down"],
    box: true,
    sizes: ["f", "cos"],
    says: "The branch computes F(x): the only thing in this block that has weights.",
  },
  {
    way: "forward",
    wires: ["skip", "down", "out"],
    sizes: ["x", "f", "y"],
    says: "The two are summed: y = x + F(x). If F is 0, y is x: a block can be idle. Where the skip is cut, y is F(x) alone.",
  },
  {
    way: "backward",
    wires: ["out"],
    sizes: ["dy"],
    says: "Backward: the gradient of the loss, dL/dy, arrives.",
  },
  {
    way: "backward",
    wires: ["out", "skip"],
    sizes: ["dy", "skip"],
    says: "The derivative of a sum: dy/dx = 1 + dF/dx. One copy takes the +1, past every weight, unchanged. Where the skip is cut, there is no +1.",
  },
  {
    way: "backward",
    wires: ["out", "down", "up"],
    box: true,
    sizes: ["dy", "branch"],
    says: "The other copy goes through dF/dx, and comes out as the weights make it.",
  },
  {
    way: "backward",
    wires: ["skip", "up", "in"],
    sizes: ["skip", "branch", "dx"],
    says: "At x the two add up to dL/dx, which goes on to the layer before. They add as vectors: they may also cancel. Without the skip only dF/dx is left.",
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
  view.back = el(
    "button",
    { type: "button", "aria-label": "step back", onclick: () => go(view.step - 1) },
    "◀",
  );
  view.next = el(
    "button",
    { type: "button", "aria-label": "next step", onclick: () => go(view.step + 1) },
    "Next ▶",
  );
  view.dots = BLOCK_STEPS.map((step, k) =>
    el(
      "button",
      { type: "button", "data-step": k, "aria-label": `step ${k + 1}, ${step.way}`, onclick: () => go(k) },
      String(k + 1),
    ),
  );
  view.says = el("p", { class: "stage", role: "status", "aria-live": "polite" });
  const kinds = [
    [0, "attention"],
    [1, "MLP"],
  ];
  view.kinds = choice("sublayer", kinds, (event) => {
    view.kind = Number(event.target.value);
    drawBlock();
  });
  view.layers = range("layer", (event) => {
    view.layer = Number(event.target.value);
    drawBlock();
  });
  view.steps = range("training step", (event) => {
    view.at = view.found[event.target.value];
    drawBlock();
  });
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
    el(
      "p",
      { class: "soft" },
      "Step through it with the buttons or the arrow keys. The numbers are what the probes measured on a ",
      "fixed batch; a wire is as thick as what it carries, on one scale for all that is shown.",
    ),
    el(
      "div",
      { class: "controls" },
      el(
        "span",
        { class: "buttons", role: "group", "aria-label": "steps" },
        view.back,
        ...view.dots,
        view.next,
      ),
    ),
    el(
      "div",
      { class: "controls" },
      view.layers.root,
      view.steps.root,
      view.kinds.root,
      ...view.picks.map((p) => p.root),
    ),
    view.says,
    view.arms,
  );
}

function drawBlock() {
  const view = blockView;
  const probed = shownRuns().filter((run) => run.probes.steps.length);
  view.root.hidden = !page.data.runs.length;
  fillPicks(view.picks, probed);
  const runs = view.picks
    .filter((p) => !p.root.hidden)
    .map((p) => probed.find((run) => run.folder === p.input.value));
  const step = BLOCK_STEPS[view.step];
  view.says.textContent = runs.length
    ? step.says
    : "None of the runs shown has probes, so there is nothing measured to show here.";
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
  const likely = ranked(runs);
  const first = likely.find((run) => run.wiring.attn.skip !== 0) ?? runs[0];
  const second =
    likely.find((run) => run.wiring.attn.skip === 0 && run !== first) ?? runs.find((run) => run !== first);
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
    const why =
      wiring.skip === null && sizes[key] === null ? "no constant skip, not split" : shown(sizes[key]);
    return [
      el("dt", { class: on }, label),
      el("dd", { class: on, "data-key": key, "data-value": sizes[key] ?? "" }, why),
    ];
  });
  const probe = probeAt(run, "stream_rms", at);
  const shift = probe && probe.step !== at ? ` (measured at step ${probe.step})` : "";
  return el(
    "div",
    { class: "arm", "data-run": run.name },
    el("h3", {}, `${run.label}: layer ${layer}, ${["attention", "MLP"][blockView.kind]}${shift}`),
    el("p", { class: "equation soft" }, wiring.equation.replaceAll("`", "") || `wiring: ${run.arm}`),
    blockDrawing(run, sizes, step, most, wiring.skip),
    el("dl", {}, ...rows),
  );
}

page.sections.push({ id: "block", build: buildBlock, draw: drawBlock });
