// What all sections of the page share: the data, elements, numbers as text, colours, charts, downloads.
// The files become one script in the order that html.py names, so each knows the names of those before it.
"use strict";

// The page's state. `data` is what the page was made from (reslab/report/pagedata.py).
const page = {
  data: JSON.parse(document.getElementById("data").textContent),
  colourBy: "", // a setting whose values have the colours, instead of the groups
  off: new Set(), // folders of runs that are switched off
  depth: null, // layers of the runs that are drawn; null for all
  sections: [], // {build(root), draw()}: build once, draw again whenever data, runs or theme change
};

const VIRIDIS = "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725"
  .split(" ")
  .map((hex) => [0, 2, 4].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)));

const LINE_CONTRAST = 3; // WCAG 2.2, 1.4.11: of lines against the paper

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
  color: visible(page.colourBy ? settingColour(run) : run.line.color),
  width: 2.5,
});

// How bright a colour is to the eye, 0 to 1, and the contrast of two colours, 1 to 21 (WCAG 2).
function brightness(hex) {
  const [r, g, b] = [1, 3, 5]
    .map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [low, high] = [brightness(one), brightness(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

// A colour, moved towards that of the text until a line of it is seen on the page's paper.
function visible(colour) {
  if (!/^#[0-9a-f]{6}$/i.test(colour)) return colour;
  const [paper, ink] = [css("--paper"), css("--ink")].map((hex) =>
    hex.length === 4 ? `#${[...hex.slice(1)].map((c) => c + c).join("")}` : hex,
  );
  const part = (hex, at) => Number.parseInt(hex.slice(at, at + 2), 16);
  let seen = colour;
  for (let mix = 0.1; mix <= 1 && contrast(seen, paper) < LINE_CONTRAST; mix += 0.1) {
    const mixed = [1, 3, 5].map((at) => Math.round(part(colour, at) * (1 - mix) + part(ink, at) * mix));
    seen = `#${mixed.map((c) => c.toString(16).padStart(2, "0")).join("")}`;
  }
  return seen;
}

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

const shownRuns = () =>
  page.data.runs.filter(
    (run) => !page.off.has(run.folder) && (page.depth === null || run.layers === page.depth),
  );

// What people call a run: "with skips", "without skips"; its wiring and folder stand in the record.
const nameOf = (run) => run.short ?? run.label;

// The two runs that the heading is about; none on a page without such a pair.
const pairRuns = () =>
  (page.data.claim?.pair ?? []).map((folder) => page.data.runs.find((run) => run.folder === folder));

// Whether a run has the list of a probe at some step: of some runs the losses alone are kept.
const keepsProbe = (run, name) => run.probes.values.some((row) => Array.isArray(row[name]));

// One line for a screen reader, and one place that says it. What plays says nothing: see stepReach.
function announce(words) {
  const line = document.getElementById("announced");
  if (line.textContent !== words) line.textContent = words;
}

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
    .map(nameOf);
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
  const output = el("output", { "aria-live": "off" });
  return { root: el("label", { class: "wide" }, label, input, output), input, output };
}
