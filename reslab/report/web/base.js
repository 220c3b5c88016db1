// What all sections of the page share: the data, elements, numbers as text, colours, charts, downloads.
// The files become one script in the order that html.py names, so each knows the names of those before it.
"use strict";

// The page's state. `data` is what the page was made from (reslab/report/pagedata.py).
const page = {
  data: JSON.parse(document.getElementById("data").textContent),
  colourBy: "", // a setting whose values have the colours, instead of the groups
  off: new Set(), // names of runs that are switched off
  sections: [], // {build(root), draw()}: build once, draw again whenever data, runs or theme change
};

const VIRIDIS = "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725"
  .split(" ")
  .map((hex) => [0, 2, 4].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)));

// An element: el("p", {class: "soft"}, "text", child). Text is never read as HTML.
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function svg(tag, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// A number for people: 3 digits, powers of ten written out; a dash where nothing was measured.
function shown(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e5) {
    return Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
  }
  const [mantissa, power] = value.toExponential(Math.max(0, digits - 2)).split("e");
  const raised = [...String(Number(power))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");
  return `${mantissa}×10${raised}`;
}

// Colour of a place between 0 (dark) and 1 (bright) as [r, g, b].
function viridis(place) {
  const at = Math.min(1, Math.max(0, place)) * (VIRIDIS.length - 1);
  const low = Math.min(VIRIDIS.length - 2, Math.floor(at));
  return VIRIDIS[low].map((c, i) => Math.round(c + (VIRIDIS[low + 1][i] - c) * (at - low)));
}

// The colour of a run tells its wiring, the dash its depth: pagedata.py chooses them.
// Where the reader has chosen a setting instead, its values have the colours: a ramp where they are numbers.
const lineOf = (run) => ({
  ...run.line,
  ...(page.colourBy ? { color: settingColour(run) } : {}),
  width: 2.5,
});

function settingColour(run) {
  const values = [...new Set(page.data.runs.map((one) => one.config[page.colourBy] ?? null))];
  const numbers = values.filter((value) => typeof value === "number").sort((a, b) => a - b);
  const value = run.config[page.colourBy] ?? null;
  if (value === null) return css("--soft");
  if (numbers.length < values.filter((one) => one !== null).length) {
    return page.data.colours[values.indexOf(value) % page.data.colours.length];
  }
  const place = numbers.length === 1 ? 0 : numbers.indexOf(value) / (numbers.length - 1);
  return `#${viridis(0.85 * place)
    .map((channel) => channel.toString(16).padStart(2, "0"))
    .join("")}`;
}

// Of the settings that differ, those that the runs themselves have.
const settingOptions = () => [
  ["", "group"],
  ...(page.data.differences ?? [])
    .map((row) => row.setting)
    .filter((key) => page.data.runs.some((run) => key in run.config))
    .map((key) => [key, key]),
];

const shownRuns = () => page.data.runs.filter((run) => !page.off.has(run.folder));

// Of each wiring the deepest run, then the next of each; the page's first arms before the others.
function ranked(runs) {
  const ordered = [...Map.groupBy(runs, (run) => run.arm).values()].flatMap((own) =>
    own.toSorted((a, b) => b.layers - a.layers).map((run, turn) => ({ run, turn })),
  );
  const rank = ({ run, turn }) => turn * 10 + ((page.data.first_arms.indexOf(run.arm) + 3) % 3);
  return ordered.toSorted((a, b) => rank(a) - rank(b)).map(({ run }) => run);
}

// Some runs where not all have room.
const spread = (runs, limit) => (runs.length <= limit ? runs : ranked(runs).slice(0, limit));

// What to say under a picture in which not all runs are.
function leftOut(drawn, able) {
  const without = shownRuns()
    .filter((run) => !able.includes(run))
    .map((run) => run.label);
  return [
    drawn.length < able.length
      ? `${drawn.length} of ${able.length} runs have room; switch others off to see the rest.`
      : "",
    without.length ? `Not measured in: ${without.join("; ")}.` : "",
  ].join(" ");
}

// A long label in lines of a figure.
function wrapped(label, width = 26) {
  const lines = [""];
  for (const word of label.split(" ")) {
    if (lines.at(-1) && `${lines.at(-1)} ${word}`.length > width) lines.push(word);
    else lines[lines.length - 1] += (lines.at(-1) && " ") + word;
  }
  return lines.join("<br>");
}

// What a probe is: its label, its scale (log or linear), and the sites that its values belong to.
const probeFacts = (name) => page.data.probes[name] ?? { label: name, scale: "log", sites: ["block"] };

// The numbers of a probe in one list; `parts` of them stand in the place of one, where it gives lists of lists.
function flat(value) {
  if (!Array.isArray(value)) return { values: [value], parts: 1 };
  if (!value.some(Array.isArray)) return { values: value, parts: 1 };
  const parts = Math.max(...value.map((row) => row?.length ?? 0));
  const padded = value.flatMap((row) => Array.from({ length: parts }, (_, k) => row?.[k] ?? null));
  return { values: padded, parts };
}

// A probe's list of one run at the last measured step that is not after `step`; null where there is none.
function probeAt(run, name, step) {
  const { steps, values } = run.probes;
  for (let k = steps.length - 1; k >= 0; k--) {
    if (steps[k] <= step && Array.isArray(values[k][name]))
      return { step: steps[k], ...flat(values[k][name]) };
  }
  return null;
}

// How many values of a probe belong to one layer.
const perLayer = (name, parts) => Math.max(1, probeFacts(name).sites.length) * parts;

// Where the k-th value of a probe was measured: "layer 3, resid_mid".
function placeName(run, name, k, parts) {
  const { sites } = probeFacts(name);
  const place = Math.floor(k / parts);
  const layer = Math.floor(place / Math.max(1, sites.length));
  const site = sites[place % Math.max(1, sites.length)];
  const part = parts > 1 ? `, ${(k % parts) + 1} of ${parts}` : "";
  if (layer >= run.layers) return `layer ${run.layers - 1}, resid_post${part}`;
  return `layer ${layer}${sites.length && site !== "block" ? `, ${site}` : ""}${part}`;
}

// The probes that some runs have measured as lists (or as numbers too), as options of a select.
function probeOptions(runs, numbers) {
  const measured = new Set(
    runs.flatMap((run) =>
      run.probes.values.flatMap((row) =>
        Object.keys(row).filter((name) => row[name] !== null && (numbers || Array.isArray(row[name]))),
      ),
    ),
  );
  const known = Object.keys(page.data.probes).filter((name) => measured.has(name));
  const others = [...measured].filter((name) => !known.includes(name));
  return [...known, ...others].map((name) => [name, probeFacts(name).label]);
}

// All steps at which any of some runs was probed.
function probedSteps(runs) {
  return [...new Set(runs.flatMap((run) => run.probes.steps))].sort((a, b) => a - b);
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function save(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// A labelled control: a select of [value, text] pairs, a checkbox, or a range.
function choice(label, options, onchange) {
  const select = el("select", { onchange });
  fill(select, options);
  return { root: el("label", {}, label, select), input: select };
}

// Give a select its options, keeping what was chosen where that is still there.
function fill(select, options, wanted = select.value) {
  select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
  if (options.some(([value]) => String(value) === String(wanted))) select.value = wanted;
}

function tick(label, checked, onchange) {
  const input = el("input", { type: "checkbox", checked, onchange });
  return { root: el("label", {}, input, label), input };
}

function range(label, oninput) {
  const input = el("input", {
    type: "range",
    min: 0,
    max: 0,
    value: 0,
    step: 1,
    oninput,
    "aria-label": label,
  });
  const output = el("output");
  return { root: el("label", { class: "wide" }, label, input, output), input, output };
}

// A chart with its buttons. draw(traces, layout) shows it in the page's colours; table(traces) is its CSV.
function chart(name, table = csv) {
  const plot = el("div", { class: "plot" });
  const size = () => ({ width: 1200, height: Math.round((1200 * plot.offsetHeight) / plot.offsetWidth) });
  const image = (format) => () => Plotly.downloadImage(plot, { format, filename: name, ...size() });
  const tools = el(
    "div",
    { class: "tools" },
    el("button", { type: "button", onclick: image("png"), "aria-label": `${name} as PNG` }, "PNG"),
    el("button", { type: "button", onclick: image("svg"), "aria-label": `${name} as SVG` }, "SVG"),
    el(
      "button",
      {
        type: "button",
        onclick: () => save(`${name}.csv`, table(plot.data), "text/csv"),
        "aria-label": `${name} as CSV`,
      },
      "CSV",
    ),
  );
  const root = el("figure", { class: "chart", "data-chart": name }, plot, tools);
  return { root, plot, draw: (traces, layout) => plotly(plot, traces, layout) };
}

function plotly(plot, traces, layout) {
  if (!window.Plotly) return; // not yet: see addCharts
  const axis = {
    gridcolor: css("--rule"),
    linecolor: css("--rule"),
    zerolinecolor: css("--rule"),
    automargin: true,
  };
  const narrow = document.body.clientWidth < 600;
  const base = { l: narrow ? 46 : 62, r: narrow ? 12 : 24, t: 30, b: 46 };
  const full = {
    width: plot.clientWidth || undefined,
    paper_bgcolor: css("--paper"),
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, color: css("--ink"), size: narrow ? 11 : 13 },
    legend: { orientation: "h", yref: "container", y: 1, yanchor: "top", x: 0 },
    hoverlabel: { font: { family: getComputedStyle(document.body).fontFamily } },
    ...layout,
    margin: { ...base, ...layout.margin },
  };
  for (const key of new Set([
    "xaxis",
    "yaxis",
    ...Object.keys(layout).filter((k) => /^[xy]axis\d*$/.test(k)),
  ])) {
    full[key] = { ...axis, ...layout[key] };
  }
  Plotly.react(plot, traces, full, { displayModeBar: false });
}

// What a chart shows, as a table: one line per point.
const quote = (value) => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : (value ?? ""));

function csv(traces) {
  const lines = ["name,x,y,value"];
  for (const trace of traces) {
    const name = quote(trace.name ?? "");
    if (trace.z) {
      for (const [y, row] of (trace.customdata ?? trace.z).entries()) {
        for (const [x, value] of row.entries()) {
          lines.push([name, quote(trace.x?.[x] ?? x), quote(trace.y?.[y] ?? y), value].join());
        }
      }
    } else {
      for (const [k, y] of (trace.y ?? []).entries())
        lines.push([name, quote(trace.x?.[k] ?? k), y, ""].join());
    }
  }
  return `${lines.join("\n")}\n`;
}
