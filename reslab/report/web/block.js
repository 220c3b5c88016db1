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

const blockView = {
  step: Math.min(linkNumber("part", 0), BLOCK_STEPS.length - 1),
  kind: linkNumber("mlp", 0) ? 1 : 0,
  layer: linkNumber("layer", 0),
  at: linkNumber("step"),
};

// Go to one part of the block, as far as there is one.
function goBlock(to) {
  blockView.step = Math.max(0, Math.min(BLOCK_STEPS.length - 1, to));
  remember("part", blockView.step);
  drawBlock();
  announce(BLOCK_STEPS[blockView.step].says);
}

function buildBlock(root) {
  const view = blockView;
  // A button at an end stays a button: one that is disabled would lose the focus of the keyboard.
  const button = (words, label, by) =>
    el("button", { type: "button", "aria-label": label, onclick: () => goBlock(view.step + by) }, words);
  view.back = button("◀", "step back", -1);
  view.next = button("Next ▶", "next step", 1);
  view.dots = BLOCK_STEPS.map((step, k) =>
    el(
      "button",
      {
        type: "button",
        "data-step": k,
        "aria-label": `step ${k + 1}, ${step.way}`,
        onclick: () => goBlock(k),
      },
      String(k + 1),
    ),
  );
  view.says = el("p", { class: "stage" });
  view.root = root;
  buildBlockControls(view);
  view.arms = el("div", { class: "arms" });
  view.figure = el(
    "figure",
    { class: "picture", "aria-label": "the block" },
    view.arms,
    pictureTools("block", blockPicture),
  );
  root.tabIndex = 0;
  root.addEventListener("keydown", blockKey);
  view.buttons = el(
    "div",
    { class: "controls steps" },
    el(
      "span",
      { class: "buttons", role: "group", "aria-label": "steps" },
      view.back,
      ...view.dots,
      view.next,
    ),
  );
  root.append(
    el("h2", {}, "Why: one block"),
    el("p", { class: "soft" }, BLOCK_WORDS, " ", el("span", { class: "wide-only" }, BLOCK_HELP)),
    view.buttons,
    view.says,
    view.figure,
    el(
      "div",
      { class: "controls" },
      view.layers.root,
      view.steps.root,
      view.kinds.root,
      ...view.picks.map((p) => p.root),
    ),
    sectionLink("block"),
  );
}

const BLOCK_WORDS =
  "x is the stream that a block reads, F what it computes (attention, or an MLP), y what it hands on, and N a norm, " +
  "which brings the vector of each token to one size. L is the loss, and dL/dx its gradient at x.";
const BLOCK_HELP =
  "All numbers were measured on a fixed batch. A wire is as thick as what it carries, on one scale for both arms: " +
  "forward in proportion, backward by its power of ten.";

function buildBlockControls(view) {
  const kinds = [
    [0, "attention"],
    [1, "MLP"],
  ];
  view.kinds = choice("sublayer", kinds, (event) => {
    view.kind = Number(event.target.value);
    remember("mlp", view.kind || null);
    drawBlock();
  });
  view.layers = range("layer", (event) => {
    view.layer = Number(event.target.value);
    remember("layer", view.layer);
    drawBlock();
  });
  view.steps = range("training step", (event) => {
    view.at = view.measured[event.target.value];
    remember("step", view.at);
    drawBlock();
  });
  view.picks = ["left", "right"].map((side) => choice(side, [], drawBlock));
}

function blockKey(event) {
  if (/^(INPUT|SELECT|SUMMARY)$/.test(event.target.tagName)) return;
  const last = BLOCK_STEPS.length - 1;
  const to = { ArrowRight: blockView.step + 1, ArrowLeft: blockView.step - 1, Home: 0, End: last }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  goBlock(to);
}

function drawBlock() {
  const view = blockView;
  const probed = shownRuns().filter((run) =>
    ["resid_rms", FIRST_PROBE].some((name) => keepsProbe(run, name)),
  );
  view.root.hidden = !page.data.runs.length;
  fillPicks(view.picks, probed);
  const runs = view.picks
    .filter((p) => !p.root.hidden)
    .map((p) => probed.find((run) => run.folder === p.input.value));
  for (const pick of view.picks) pick.root.classList.toggle("spare", probed.length < 3);
  const step = BLOCK_STEPS[view.step];
  view.says.textContent = runs.length
    ? step.says
    : "Of these runs the probes are not kept, so there is nothing measured to show here.";
  for (const part of [view.buttons, view.figure, view.layers.root, view.steps.root, view.kinds.root]) {
    part.hidden = !runs.length;
  }
  view.back.setAttribute("aria-disabled", view.step === 0);
  view.next.setAttribute("aria-disabled", view.step === BLOCK_STEPS.length - 1);
  view.dots.forEach((dot, k) => {
    if (k === view.step) dot.setAttribute("aria-current", "step");
    else dot.removeAttribute("aria-current");
  });
  view.kinds.input.value = view.kind;
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
  view.drawn = { runs, at };
  const open = view.arms.querySelector("details")?.open ?? false;
  view.arms.replaceChildren(...runs.map((run, k) => blockArm(run, measured[k], step, most, at, open)));
}

// The two selects: the two arms of the page, or a run with a skip and one without where there are such; one run
// needs only one.
function fillPicks(picks, runs) {
  const options = runs.map((run) => [run.folder, nameOf(run)]);
  const likely = [...pairRuns().filter((run) => runs.includes(run)), ...ranked(runs)];
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

// Why the sizes of two parts do not add up to the size of their sum; nothing where one of them is missing.
function sumInWords(one, other, sum) {
  if ([one, other, sum].includes(null) || one === 0 || other === 0) return "";
  const cosine = (sum ** 2 - one ** 2 - other ** 2) / (2 * one * other);
  if (Math.abs(cosine) > 1.02) return ""; // rounded numbers of which one is far larger tell no angle
  return (
    `${shown(one)} and ${shown(other)} are sizes of vectors. These two have a cosine of ${cosine.toFixed(2)}, ` +
    `so their sum has size ${shown(sum)}, not ${shown(one + other)}.`
  );
}

// What the step says about the lengths of its two parts.
function sumOfStep(sizes, step, { skip }) {
  if (!skip) return "";
  if (step.sizes.includes("y")) {
    return sumInWords(sizes.x === null ? null : Math.abs(skip) * sizes.x, sizes.f, sizes.y);
  }
  return step.sizes.includes("dx") ? sumInWords(sizes.skip, sizes.branch, sizes.dx) : "";
}

// One arm: its equation, the drawing and the list of sizes.
function blockArm(run, sizes, step, most, at, open) {
  const wiring = run.wiring[["attn", "mlp"][blockView.kind]];
  const rows = Object.entries(BLOCK_SIZES).flatMap(([key, label]) => {
    const on = step.sizes.includes(key) ? "on" : "";
    const why = wiring.skip === null && sizes[key] === null ? "no constant skip" : shown(sizes[key]);
    return [
      el("dt", { class: on }, label),
      el("dd", { class: on, "data-key": key, "data-value": sizes[key] ?? "" }, why),
    ];
  });
  const details = el("details", { open }, el("summary", {}, "all numbers"), el("dl", {}, ...rows));
  details.addEventListener("toggle", () => {
    for (const other of blockView.arms.querySelectorAll("details")) other.open = details.open;
  });
  const sum = sumOfStep(sizes, step, wiring);
  return el(
    "div",
    { class: "arm", "data-run": run.name },
    el("h3", {}, capital(nameOf(run))),
    el("p", { class: "place" }, blockPlace(run, at)),
    el("p", { class: "equation" }, wiring.equation.replaceAll("`", "")),
    blockDrawing(run, sizes, step, most, wiring),
    el("p", { class: "says" }, [step.of(wiring), sum].filter(Boolean).join(" ")),
    details,
  );
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

// Where and when the sizes of an arm were measured.
function blockPlace(run, at) {
  const probe = probeAt(run, "resid_rms", at);
  const layer = Math.min(blockView.layer, run.layers - 1);
  return `layer ${layer}, ${["attention", "MLP"][blockView.kind]}, step ${probe?.step ?? at}`;
}

// The drawings of the arms as one picture.
function blockPicture() {
  const { runs, at } = blockView.drawn;
  const step = BLOCK_STEPS[blockView.step];
  const title = `One block: ${blockPlace(runs[0], at)}. ${step.says}`;
  const { root, top } = framed(40 + 360 * Math.max(2, runs.length), 470, title, originOf(runs));
  const drawings = [...blockView.arms.querySelectorAll("svg")];
  runs.forEach((run, k) => {
    const x = 20 + 360 * k;
    const equation = run.wiring[["attn", "mlp"][blockView.kind]].equation;
    const name = svg("text", { x, y: top + 24, "font-size": 16, fill: css("--ink") }, capital(nameOf(run)));
    const line = svg("text", { x, y: top + 46, "font-size": 14, fill: css("--soft") }, equation);
    const copy = styledCopy(drawings[k]);
    for (const [key, value] of Object.entries({ x, y: top + 60, width: 360, height: 398 })) {
      copy.setAttribute(key, value);
    }
    root.append(name, line, copy);
  });
  return root;
}

page.sections.push({ id: "block", build: buildBlock, draw: drawBlock });
