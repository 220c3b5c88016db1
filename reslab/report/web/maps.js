// Layer by step: a heat map of each probe, arms side by side, on one scale; a probe that is one number of the
// whole model is a line over the steps.

const MAPS = 4; // side by side
const mapsView = {};

function buildMaps(root) {
  mapsView.root = root;
  mapsView.choice = choice("probe", [], drawMaps);
  mapsView.chart = chart("layer-by-step", csv, mapsTitle);
  mapsView.note = el("p", { class: "soft small" });
  root.append(
    el(
      "p",
      { class: "soft" },
      "Each probe over the layers (upwards) and the measured training steps, the arms on one scale. Where a ",
      "layer has several sites, they follow each other inside it: point at a cell for its own. A probe with one ",
      "number for the whole model is a line over the steps.",
    ),
    el("div", { class: "controls" }, mapsView.choice.root),
    mapsView.chart.root,
    mapsView.note,
  );
}

const mapsTitle = () =>
  `${capital(probeFacts(mapsView.choice.input.value).label)}, by layer and training step. ${originOf(shownRuns())}`;

function drawMaps() {
  const options = probeOptions(page.data.runs, true);
  mapsView.root.hidden = !options.length;
  if (!options.length) return;
  fill(mapsView.choice.input, options);
  const name = mapsView.choice.input.value;
  const log = probeFacts(name).scale === "log";
  const measures = (row) => flat(row[name] ?? null).values.some((v) => v !== null);
  const able = shownRuns().filter((run) => run.probes.values.some(measures));
  if (able.every((run) => run.probes.values.every((row) => !Array.isArray(row[name]))))
    return drawNumbers(able, name, log);
  const runs = spread(able, MAPS);
  const scale = commonScale(
    runs.flatMap((run) => run.probes.values.map((row) => flat(row[name] ?? []).values)),
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
      text: wrapped(nameOf(run)),
    });
    return { ...mapTrace(run, name, log, scale, measures), xaxis: `x${tail}`, yaxis: `y${tail}` };
  });
  mapsView.chart.draw(traces, layout);
  mapsView.note.textContent = leftOut(runs, able);
}

// One number of the whole model at each measured step.
function drawNumbers(runs, name, log) {
  const traces = runs.map((run) => {
    const places = run.probes.steps.map((_, k) => k).filter((k) => run.probes.values[k][name] !== undefined);
    return {
      x: places.map((k) => run.probes.steps[k]),
      y: places.map((k) => run.probes.values[k][name]),
      name: nameOf(run),
      mode: "lines+markers",
      line: lineOf(run),
    };
  });
  const values = traces.flatMap((trace) => trace.y);
  const counts = values.every((v) => Number.isInteger(v) && v < 12);
  mapsView.chart.draw(traces, {
    height: 420,
    showlegend: true,
    margin: { t: 60 },
    xaxis: { title: { text: "training step" } },
    yaxis: {
      type: log ? "log" : "linear",
      ...(log ? {} : { rangemode: "tozero" }),
      ...(counts ? { dtick: 1 } : {}),
    },
  });
  mapsView.note.textContent = `${probeFacts(name).label}. ${leftOut(runs, runs)}`;
}

function mapTrace(run, name, log, scale, measures) {
  const measured = run.probes.steps.map((_, k) => k).filter((k) => measures(run.probes.values[k]));
  const lists = measured.map((k) => flat(run.probes.values[k][name]));
  const [{ values: first, parts }] = lists;
  const across = (f) => first.map((_, place) => lists.map((list) => f(list.values[place] ?? null, place)));
  const colour = (v) => (v === null ? null : log ? Math.log10(Math.max(v, scale.low)) : v);
  return {
    type: "heatmap",
    name: nameOf(run),
    x: measured.map((k) => String(run.probes.steps[k])),
    y: first.map((_, place) => place / perLayer(name, parts)),
    z: across(colour),
    customdata: across((v) => v),
    text: across((_, place) => placeName(run, name, place, parts)),
    coloraxis: "coloraxis",
    hovertemplate: "%{fullData.name}<br>%{text}, step %{x}: %{customdata:.3g}<extra></extra>",
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

page.sections.push({ id: "maps", title: "Layer by step", build: buildMaps, draw: drawMaps });
