// The block: x goes into F and past it, the two are joined; then the gradient comes back the same ways. Every
// size is a probe of a run at a chosen layer and step.

const BLOCK_SIZES = {
  x: "stream x, rms",
  raw: "branch F, rms",
  f: "what is added, rms",
  cos: "cosine of x and what is added",
  y: "output y, rms",
  dy: "gradient at the output, ‖dL/dy‖",
  skip: "its part through the skip",
  branch: "its part through the branch",
  dx: "gradient at the input, ‖dL/dx‖",
};
// The measured sizes of a sublayer (0 attention, 1 MLP) of a layer; null for what was not measured.
function blockSizes(run, layer, kind, step) {
  const k = 2 * layer + kind;
  const pick = (name, at) => probeAt(run, name, step)?.values[at] ?? null;
  const [x, ratio] = [pick("resid_rms", k), pick("branch_ratio", k)];
  return {
    x,
    raw: x === null || ratio === null ? null : x * ratio,
    f: pick("added_rms", k),
    cos: pick("added_cosine", k),
    y: pick("resid_rms", k + 1),
    dy: pick("resid_gradient", k + 1),
    skip: pick("skip_gradient", k),
    branch: pick("branch_gradient", k),
    dx: pick("resid_gradient", k),
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
    view.at = view.measured[event.target.value];
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
  view.measured = probedSteps(runs);
  setRange(view.steps, view.measured, view.at);
  const depth = Math.max(1, ...runs.map((run) => run.layers));
  view.layer = Math.min(view.layer, depth - 1);
  view.layers.input.max = depth - 1;
  view.layers.input.value = view.layer;
  view.layers.output.textContent = `${view.layer} of ${depth}`;
  const at = view.measured[view.steps.input.value];
  const measured = runs.map((run) => blockSizes(run, Math.min(view.layer, run.layers - 1), view.kind, at));
  const keys = step.way === "forward" ? ["x", "raw", "f", "y"] : ["dy", "skip", "branch", "dx"];
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
    const why = wiring.skip === null && sizes[key] === null ? "no constant skip" : shown(sizes[key]);
    return [
      el("dt", { class: on }, label),
      el("dd", { class: on, "data-key": key, "data-value": sizes[key] ?? "" }, why),
    ];
  });
  const probe = probeAt(run, "resid_rms", at);
  const shift = probe && probe.step !== at ? ` (measured at step ${probe.step})` : "";
  return el(
    "div",
    { class: "arm", "data-run": run.name },
    el(
      "h3",
      {},
      `${wiring.skip === 0 ? "Without skips" : "With skips"} (${run.label}): layer ${layer}, `,
      `${["attention", "MLP"][blockView.kind]}${shift}`,
    ),
    el("p", { class: "equation soft" }, wiring.equation.replaceAll("`", "")),
    el("p", { class: "says" }, step.of(wiring)),
    blockDrawing(run, sizes, step, most, wiring.skip),
    el("dl", {}, ...rows),
  );
}

page.sections.push({ id: "block", build: buildBlock, draw: drawBlock });
