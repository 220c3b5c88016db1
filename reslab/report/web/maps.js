// Layer by step: a heat map of each probe, arms side by side, on one scale.

const PROBE_WORDS = {
  gradient_norm: "gradient that arrives, ‖dL/dh‖",
  position0_share: "share of the gradient on the first token",
  qk_gradient: "gradient of Q and K",
  v_gradient: "gradient of V",
  o_gradient: "gradient of O",
  w1_gradient: "gradient of W1",
  w2_gradient: "gradient of W2",
  token_diversity: "token diversity",
  stream_rms: "stream, rms",
  sublayer_rms: "stream around each sublayer, rms",
  branch_ratio: "branch / stream",
  branch_cosine: "cosine of branch and stream",
  output_gradient: "gradient that arrives at a sublayer",
  skip_gradient: "its part through the skip",
  branch_gradient: "its part through the branch",
  input_gradient: "gradient that leaves a sublayer",
  attention_entropy: "attention entropy / uniform",
  update_ratio: "update / weight",
};
const LINEAR = ["position0_share", "branch_cosine", "attention_entropy"];
const MAPS = 4; // side by side
const mapsView = {};

function buildMaps(root) {
  mapsView.root = root;
  mapsView.choice = choice("probe", [], drawMaps);
  mapsView.chart = chart("layer-by-step");
  mapsView.note = el("p", { class: "soft small" });
  root.append(
    el("h2", {}, "Layer by step"),
    el(
      "p",
      { class: "soft" },
      "Each probe over the layers (upwards) and the measured training steps, the arms on one scale. Where a ",
      "probe looks at sublayers, attention and MLP alternate.",
    ),
    el("div", { class: "controls" }, mapsView.choice.root),
    mapsView.chart.root,
    mapsView.note,
  );
}

function drawMaps() {
  const names = new Set(
    page.data.runs.flatMap((run) => run.probes.values.flatMap((row) => Object.keys(row))),
  );
  const known = Object.keys(PROBE_WORDS).filter((name) => names.has(name));
  mapsView.root.hidden = !known.length;
  if (!known.length) return;
  fill(
    mapsView.choice.input,
    known.map((name) => [name, PROBE_WORDS[name]]),
  );
  const name = mapsView.choice.input.value;
  const log = !LINEAR.includes(name);
  const measures = (row) => Array.isArray(row[name]) && row[name].some((v) => v !== null);
  const able = shownRuns().filter((run) => run.probes.values.some(measures));
  const runs = spread(able, MAPS);
  const scale = commonScale(
    runs.flatMap((run) => run.probes.values.map((row) => row[name] ?? [])),
    log ? "log" : "linear",
  );
  const stacked = document.body.clientWidth < 760;
  const rows = stacked ? runs.length : 1;
  const layout = {
    height: stacked ? 80 + 300 * rows : 460,
    annotations: [],
    coloraxis: colourAxis(scale, log, rows),
    margin: { t: 50 },
  };
  layout.grid = {
    rows,
    columns: stacked ? 1 : Math.max(1, runs.length),
    pattern: "independent",
    xgap: 0.12,
    ygap: 0.28,
  };
  const traces = runs.map((run, k) => {
    const tail = k ? String(k + 1) : "";
    layout[`xaxis${tail}`] = {
      type: "category",
      title: { text: stacked && k < runs.length - 1 ? "" : "training step" },
    };
    layout[`yaxis${tail}`] = {
      title: { text: k && !stacked ? "" : "layer" },
      tickformat: "d",
      ...(run.layers < 12 ? { dtick: 1 } : {}),
    };
    layout.annotations.push({
      xref: `x${tail} domain`,
      yref: `y${tail} domain`,
      x: 0.5,
      y: 1.01,
      yanchor: "bottom",
      showarrow: false,
      text: wrapped(run.label),
    });
    return { ...mapTrace(run, name, log, scale, measures), xaxis: `x${tail}`, yaxis: `y${tail}` };
  });
  mapsView.chart.draw(traces, layout);
  mapsView.note.textContent = leftOut(runs, able);
}

function mapTrace(run, name, log, scale, measures) {
  const kept = run.probes.steps.map((_, k) => k).filter((k) => measures(run.probes.values[k]));
  const lists = kept.map((k) => run.probes.values[k][name]);
  const across = (f) => lists[0].map((_, layer) => lists.map((list) => f(list[layer] ?? null)));
  const place = (v) => (v === null ? null : log ? Math.log10(Math.max(v, scale.low)) : v);
  // Two values per layer belong to its attention and its MLP: they stand at layer and layer + 1/2.
  const perLayer = lists[0].length > 1.5 * run.layers ? 2 : 1;
  return {
    type: "heatmap",
    name: run.label,
    x: kept.map((k) => String(run.probes.steps[k])),
    y: lists[0].map((_, k) => k / perLayer),
    z: across(place),
    customdata: across((v) => v),
    coloraxis: "coloraxis",
    hovertemplate: "%{fullData.name}<br>layer %{y}, step %{x}: %{customdata:.3g}<extra></extra>",
  };
}

function colourAxis(scale, log, rows) {
  const bar = { thickness: 14, len: 1 / rows, y: 1, yanchor: "top" };
  if (!log) return { colorscale: "Viridis", cmin: scale.low, cmax: scale.high, colorbar: bar };
  const [low, high] = [Math.log10(scale.low), Math.log10(scale.high)];
  const by = Math.max(1, Math.ceil((high - low) / 8));
  const ticks = [];
  for (let power = Math.ceil(low); power <= high; power += by) ticks.push(power);
  if (!ticks.length) ticks.push(low, high);
  const text = ticks.map((power) =>
    shown(10 ** power, 2)
      .replace("1.0×", "")
      .replace(/^1×/, ""),
  );
  return {
    colorscale: "Viridis",
    cmin: low,
    cmax: high,
    colorbar: { ...bar, tickvals: ticks, ticktext: text },
  };
}

page.sections.push({ id: "maps", build: buildMaps, draw: drawMaps });
