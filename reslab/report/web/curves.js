// The curves: train and validation loss against updates, tokens, seconds and FLOPs, between the baselines.

const AXES = {
  step: ["updates", (_, curve, k) => curve.step[k]],
  tokens: ["tokens", (run, curve, k) => run.tokens_per_step && curve.step[k] * run.tokens_per_step],
  seconds: ["seconds", (_, curve, k) => curve.seconds[k]],
  flops: [
    "FLOPs, (6 N + 12 L C T) per token",
    (run, curve, k) =>
      run.tokens_per_step && run.flops_per_token
        ? curve.step[k] * run.tokens_per_step * run.flops_per_token
        : null,
  ],
};
const PANELS = { train: "on its training data", val: "on text it has not seen" };
const LEGEND_RUNS = 12; // more have no room in it; the list of runs tells their colours
const curvesView = {};

function buildCurves(root) {
  const view = curvesView;
  view.root = root;
  view.axis = choice(
    "against",
    Object.entries(AXES).map(([key, [words]]) => [key, words.split(",")[0]]),
    drawCurves,
  );
  view.what = choice(
    "show",
    [
      ["both", "training and validation"],
      ["val", "validation"],
      ["train", "training"],
    ],
    drawCurves,
  );
  view.batch = tick("batch loss", true, drawCurves);
  view.bands = tick("seeds as a band", true, drawCurves);
  view.logX = tick("log x", false, drawCurves);
  view.logY = tick("log y", false, drawCurves);
  view.smooth = range("smoothing", drawCurves);
  view.colour = choice("colour by", settingOptions(), () => {
    page.colourBy = view.colour.input.value;
    drawAll();
  });
  Object.assign(view.smooth.input, { max: 99, value: 0 });
  const title = (what) => () => `${what}. ${originOf(shownRuns())}`;
  const losses = () => tidy({ train: ["loss", "se"], val: ["loss", "se"], batch: ["loss"] });
  view.chart = chart("loss", losses, title("Loss while training"));
  view.norms = chart(
    "gradient-norm",
    () => tidy({ batch: ["norm"] }),
    title("Norm of the gradient while training"),
  );
  root.append(
    el(
      "p",
      { class: "soft" },
      "Loss in nats per token. The dotted lines are three baselines on the same sequences: a model that guesses ",
      "evenly (uniform), one that knows how frequent each token is (unigram), and one that knows which token ",
      "follows which (bigram). A loss below the uniform baseline takes knowledge of the frequencies, one below the ",
      "unigram baseline knowledge of the present token, one below the bigram baseline that of the tokens before it.",
    ),
    el(
      "div",
      { class: "controls" },
      view.what.root,
      view.axis.root,
      view.logX.root,
      view.logY.root,
      view.bands.root,
      view.batch.root,
      view.smooth.root,
      view.colour.root,
    ),
    view.chart.root,
    el("h3", {}, "Norm of the whole gradient, before clipping"),
    view.norms.root,
  );
}

// Exponential mean, corrected for its start as in Adam; gaps stay gaps.
function smoothed(values, weight) {
  let sum = 0;
  let total = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

const along = (run, curve) => curve.step.map((_, k) => AXES[curvesView.axis.input.value][1](run, curve, k));

// The traces of one run's evaluations (or batches) in one panel.
function runTrace(run, split, axes) {
  const curve = run.curves[split];
  const evaluated = split !== "batch";
  return {
    x: along(run, curve),
    y: evaluated ? curve.loss : smoothed(curve.loss, curvesView.smooth.input.value / 100),
    error_y: evaluated ? { array: curve.se, thickness: 1, width: 2 } : undefined,
    name: nameOf(run),
    legendgroup: nameOf(run),
    mode: evaluated ? "lines+markers" : "lines",
    marker: { size: 5 },
    line: evaluated ? lineOf(run) : { ...lineOf(run), width: 1 },
    opacity: evaluated ? 1 : 0.45,
    meta: { run: run.name, split },
    hovertemplate: `%{fullData.name}<br>${AXES[curvesView.axis.input.value][0].split(",")[0]} %{x}: %{y:.3f} nats${evaluated ? "" : " (batch)"}<extra></extra>`,
    ...axes,
  };
}

// A group of seeds: their mean, and a band from the lowest to the highest.
function bandTraces(runs, split, axes) {
  const first = runs.reduce((a, b) => (a.curves[split].step.length <= b.curves[split].step.length ? a : b));
  const steps = first.curves[split].step.filter((s) =>
    runs.every((run) => run.curves[split].step.includes(s)),
  );
  const at = (run) => steps.map((s) => run.curves[split].loss[run.curves[split].step.indexOf(s)]);
  const losses = runs.map(at);
  const over = (f) =>
    steps.map((_, k) => {
      const values = losses.map((list) => list[k]).filter((v) => v !== null);
      return values.length ? f(values) : null;
    });
  const x = steps.map((s) =>
    AXES[curvesView.axis.input.value][1](first, first.curves[split], first.curves[split].step.indexOf(s)),
  );
  const name = `${first.group_label}, mean of ${runs.length} seeds`;
  const shared = { x, name, legendgroup: name, ...axes };
  const edge = {
    ...shared,
    mode: "lines",
    line: { width: 0, color: lineOf(first).color },
    hoverinfo: "skip",
    showlegend: false,
  };
  return [
    { ...edge, y: over((v) => Math.min(...v)) },
    { ...edge, y: over((v) => Math.max(...v)), fill: "tonexty", fillcolor: `${lineOf(first).color}40` },
    {
      ...shared,
      y: over((v) => v.reduce((a, b) => a + b) / v.length),
      mode: "lines+markers",
      line: lineOf(first),
      marker: { size: 5 },
    },
  ];
}

// Where a diverged run ended: its last finite batch loss.
function endOf(run, axes) {
  const curve = run.curves.batch.step.length ? run.curves.batch : run.curves.train;
  const k = curve.loss.findLastIndex((v) => v !== null);
  if (k < 0) return [];
  return [
    {
      x: [along(run, curve)[k]],
      y: [curve.loss[k]],
      mode: "markers",
      name: `${nameOf(run)} diverged`,
      showlegend: false,
      marker: { symbol: "x", size: 13, color: lineOf(run).color },
      hovertemplate: "%{fullData.name}<extra></extra>",
      ...axes,
    },
  ];
}

// All traces of one panel; `number` is its place in the figure.
function panelTraces(runs, split, number) {
  const tail = number === 1 ? "" : String(number);
  const axes = { xaxis: `x${tail}`, yaxis: `y${tail}` };
  const view = curvesView;
  const traces = [];
  if (split === "train" && view.batch.input.checked) {
    traces.push(...runs.map((run) => ({ ...runTrace(run, "batch", axes), showlegend: false })));
  }
  const groups = view.bands.input.checked
    ? Map.groupBy(runs, (run) => `${run.group} ${page.colourBy === "seed" ? run.folder : ""}`)
    : new Map(runs.map((run) => [run, [run]]));
  for (const group of groups.values()) {
    const evaluated = group.filter((run) => run.curves[split].step.length);
    if (evaluated.length > 1) traces.push(...bandTraces(evaluated, split, axes));
    else traces.push(...evaluated.map((run) => runTrace(run, split, axes)));
  }
  if (split === "train")
    traces.push(...runs.filter((run) => run.status === "diverged").flatMap((run) => endOf(run, axes)));
  return number === 1 ? traces : traces.map((trace) => ({ ...trace, showlegend: false }));
}

function drawCurves() {
  const view = curvesView;
  const runs = shownRuns();
  const what = view.what.input.value;
  const splits = what === "both" ? ["train", "val"] : [what];
  const stacked = document.body.clientWidth < 760;
  view.bands.root.hidden = new Set(page.data.runs.map((run) => run.group)).size === page.data.runs.length;
  fill(view.colour.input, settingOptions(), page.colourBy);
  view.colour.root.hidden = view.colour.input.options.length < 2;
  view.smooth.output.textContent = (view.smooth.input.value / 100).toFixed(2);
  const layout = { height: stacked ? 120 + 290 * splits.length : 540, shapes: [], annotations: [] };
  const traces = splits.flatMap((split, k) => {
    panelLayout(layout, split, k + 1, splits.length, stacked, runs[0]);
    return panelTraces(runs, split, k + 1);
  });
  layout.showlegend = runs.length <= LEGEND_RUNS;
  const lines = layout.showlegend ? Math.min(6, Math.ceil(runs.length / (stacked ? 1 : 4))) : 0;
  layout.margin = { t: 30 + 20 * lines };
  view.chart.draw(traces, layout);
  const norms = runs.map((run) => ({
    x: along(run, run.curves.batch),
    y: run.curves.batch.norm,
    name: nameOf(run),
    mode: "lines",
    line: { ...lineOf(run), width: 1.5 },
  }));
  view.norms.draw(norms, {
    height: 380,
    showlegend: layout.showlegend,
    xaxis: {
      title: { text: AXES[view.axis.input.value][0] },
      type: view.logX.input.checked ? "log" : "linear",
    },
    yaxis: { type: "log", exponentformat: "power", nticks: 6 },
  });
}

// Axes, title and baselines of one panel.
function panelLayout(layout, split, number, count, stacked, run) {
  const view = curvesView;
  const tail = number === 1 ? "" : String(number);
  const share = (k) => (k === number ? 0 : 1);
  const gap = stacked ? 0.1 : 0.03;
  const low = (number - 1) / count + (share(1) * gap) / 2;
  const span = [low, number / count - (share(count) * gap) / 2];
  const last = number === count;
  layout[`xaxis${tail}`] = {
    type: view.logX.input.checked ? "log" : "linear",
    anchor: `y${tail}`,
    ...(stacked ? {} : { domain: span }),
    ...(stacked && !last ? {} : { title: { text: AXES[view.axis.input.value][0] } }),
  };
  layout[`yaxis${tail}`] = {
    type: view.logY.input.checked ? "log" : "linear",
    anchor: `x${tail}`,
    ...(number > 1 ? { matches: "y" } : {}),
    ...(stacked ? { domain: [1 - span[1], 1 - span[0]] } : {}),
    ...(stacked || number === 1 ? { title: { text: "loss, nats per token" } } : { showticklabels: false }),
  };
  const domain = { xref: `x${tail} domain`, showarrow: false };
  layout.annotations.push({
    ...domain,
    yref: `y${tail} domain`,
    x: 0.5,
    y: 1,
    yanchor: "bottom",
    text: `<b>${PANELS[split]}</b>`,
  });
  if (!run) return;
  for (const [name, loss] of Object.entries(run.baselines[split])) {
    const line = { color: css("--soft"), width: 1, dash: "dot" };
    layout.shapes.push({
      type: "line",
      xref: `x${tail} domain`,
      yref: `y${tail}`,
      x0: 0,
      x1: 1,
      y0: loss,
      y1: loss,
      line,
    });
    layout.annotations.push({
      ...domain,
      yref: `y${tail}`,
      x: name === "uniform" ? 1 : 0,
      xanchor: name === "uniform" ? "right" : "left",
      y: view.logY.input.checked ? Math.log10(loss) : loss,
      yanchor: "bottom",
      text: `${name} ${loss.toFixed(2)}`,
      font: { size: 11, color: css("--soft") },
    });
  }
}

page.sections.push({ id: "curves", title: "The curves", build: buildCurves, draw: drawCurves });
