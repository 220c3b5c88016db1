// How far the gradient reaches: a column of layers per arm over the training steps; beside it the same values as
// a line over depth. What plays here plays on the first screen too.

const COLUMNS = 6; // arms side by side
const PLAY_MS = 700; // a training step's picture
const reachView = {
  at: linkNumber("step"),
  probe: link.get("probe") ?? "resid_gradient",
  timer: null,
  plays: [],
};

// A button that plays the training; there may be several.
function playButton() {
  const button = el("button", { type: "button", "aria-pressed": "false", onclick: toggleReach }, "▶ Play");
  reachView.plays.push(button);
  return button;
}

function buildReach(root) {
  const view = reachView;
  view.choice = choice("show", [], (event) => {
    view.probe = event.target.value;
    remember("probe", view.probe);
    drawReach();
  });
  view.steps = range("training step", (event) => goReach(view.measured[event.target.value]));
  view.scale = el("div", { class: "scale" });
  view.columns = el("div", { class: "columns" });
  view.chart = chart("reach", csv, reachTitle);
  view.note = el("p", { class: "soft small" });
  view.when = el("figcaption", { class: "soft" });
  view.root = root;
  root.tabIndex = 0;
  root.addEventListener("keydown", reachKey);
  const figure = el(
    "figure",
    { class: "columns-figure", "aria-label": "the columns of layers" },
    view.columns,
  );
  figure.append(pictureTools("reach-columns", reachPicture));
  root.append(
    el("h2", {}, "How far: every layer"),
    el(
      "p",
      { class: "soft" },
      "One column for each arm, one stripe for each layer: the loss is above the top, the first layer at the bottom, ",
      "and the gradient comes from above. ",
      el(
        "span",
        { class: "wide-only" },
        "Space plays the training, the arrow keys, Home and End step through it; point at a column for its values.",
      ),
    ),
    el("div", { class: "controls" }, view.choice.root, playButton(), view.steps.root),
    el(
      "div",
      { class: "picture" },
      view.when,
      view.scale,
      el("div", { class: "reach" }, figure, view.chart.root),
    ),
    view.note,
    sectionLink("reach"),
  );
}

const reachTitle = () =>
  `${capital(probeFacts(reachView.probe).label)}, at training step ${reachView.shownAt}. ${originOf(reachView.runs)}`;

// All of it as a picture: see columnsPicture.
function reachPicture() {
  const columns = reachView.cells.map((cell, k) => ({
    name: nameOf(reachView.runs[k]),
    values: cell.values ?? [null],
    head: cell.head,
    note: cell.output.textContent.replace(/^layer 0: /, ""),
  }));
  const { label } = probeFacts(reachView.probe);
  const title = `${capital(label)}, training step ${reachView.shownAt}`;
  return columnsPicture({ title, columns, scale: reachView.common, label, origin: originOf(reachView.runs) });
}

function reachKey(event) {
  const tag = event.target.tagName;
  if (/^(BUTTON|SELECT|INPUT)$/.test(tag) && !(event.key === " " && tag === "INPUT")) return;
  const steps = reachView.measured;
  const at = Number(reachView.steps.input.value);
  if (event.key === " ") toggleReach();
  else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    stepReach(event.key === "ArrowRight" ? 1 : -1);
  } else if (event.key === "Home") goReach(steps[0]);
  else if (event.key === "End") goReach(steps.at(-1));
  else return;
  event.preventDefault();
  if (event.key !== " " && at !== Number(reachView.steps.input.value)) announce(`step ${reachView.at}`);
}

// Show a training step, here and on the first screen.
function goReach(step) {
  reachView.at = step;
  remember("step", step);
  drawReach();
  drawFirst();
}

function toggleReach() {
  const view = reachView;
  if (view.timer) return stopReach();
  view.timer = setInterval(() => stepReach(1) || stopReach(), PLAY_MS);
  for (const play of view.plays) {
    play.setAttribute("aria-pressed", "true");
    play.textContent = "❚❚ Pause";
  }
  if (Number(view.steps.input.value) >= view.measured.length - 1) goReach(view.measured[0]);
}

function stopReach() {
  clearInterval(reachView.timer);
  reachView.timer = null;
  for (const play of reachView.plays) {
    play.setAttribute("aria-pressed", "false");
    play.textContent = "▶ Play";
  }
  announce(`step ${reachView.at}`);
}

// Moves by some measured steps; false where there are none left.
function stepReach(by) {
  const to = Number(reachView.steps.input.value) + by;
  if (to < 0 || to >= reachView.measured.length) return false;
  goReach(reachView.measured[to]);
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
  const able = shownRuns().filter((run) => keepsProbe(run, view.probe));
  const runs = spread(able, COLUMNS);
  view.runs = runs;
  view.measured = probedSteps(runs);
  setRange(view.steps, view.measured, view.at);
  const at = view.measured[view.steps.input.value];
  view.shownAt = at;
  view.when.textContent = at === undefined ? "" : `Training step ${at}`;
  const lists = runs.flatMap((run) => run.probes.values.map((row) => flat(row[view.probe] ?? []).values));
  const scale = commonScale(lists, kind);
  view.common = scale;
  const lists_at = runs.map((run) => probeAt(run, view.probe, at));
  drawScale(view.scale, scale, label);
  // The elements stay while the runs do, so that the pointer and the focus keep their place.
  const key = runs.map((run) => run.folder).join("\n");
  if (view.key !== key) {
    view.key = key;
    view.cells = runs.map((run) => reachColumn(run));
    view.columns.replaceChildren(...view.cells.map((cell) => cell.root));
  }
  for (const [k, cell] of view.cells.entries()) {
    cell.asked = at;
    fillColumn(cell, runs[k], view.probe, lists_at[k], scale);
  }
  drawDepth(view.chart, runs, lists_at, scale);
  view.note.textContent = leftOut(runs, able);
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
      name: nameOf(run),
      mode: values.length > 60 ? "lines" : "lines+markers",
      line: lineOf(run),
      marker: { size: 5 },
      hovertemplate: "%{text}: %{x:.3g}<extra></extra>",
    };
  });
  const log = {
    type: "log",
    exponentformat: "power",
    range: [Math.log10(scale.low) - 0.3, Math.log10(scale.most) + 0.3],
  };
  // As high as the columns beside it, layer by layer.
  const canvas = reachView.cells[0]?.canvas;
  const top = Math.max(40, canvas ? canvas.offsetTop - reachView.columns.offsetTop : 40);
  const count = Math.max(1, ...lists.map((list) => list?.values.length ?? 0));
  drawn.draw(traces, {
    height: top + (canvas?.clientHeight ?? 400) + 54,
    margin: { t: top, b: 54 },
    showlegend: runs.length > 1,
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
