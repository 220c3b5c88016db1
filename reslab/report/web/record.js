// Depth, autopsies, samples and the record: what sums a study up, and where its numbers come from.

const SAMPLE_RUNS = 6; // whose texts stand side by side
const OPEN_RECORDS = 8; // of more runs than this each record is folded
const depthView = {};
const autopsyView = {};
const samplesView = {};
const recordView = {};

// Figures that Python drew, each with its name and caption.
function ready(figure, name) {
  const drawn = chart(name, csv, () => `${figure.name}: ${page.data.title}`);
  const draw = () => {
    const layout = { ...structuredClone(figure.layout), margin: { t: 56 } };
    for (const note of layout.annotations ?? []) note.font = { ...note.font, size: 12 };
    drawn.draw(figure.data, layout);
  };
  return {
    root: el("div", {}, el("h3", {}, figure.name), el("p", { class: "soft" }, figure.caption), drawn.root),
    draw,
  };
}

const slug = (text) => text.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");

// The figures of many runs, under the section that each of them names.
function drawDepthSection() {
  // They are of all runs, so what is switched off does not change them.
  const drawn = [document.documentElement.dataset.theme, document.body.clientWidth, typeof Plotly].join();
  if (depthView.data === page.data && depthView.drawn === drawn) return;
  Object.assign(depthView, { data: page.data, drawn });
  const figures = page.data.figures ?? [];
  depthView.root.hidden = !figures.length;
  depthView.root.replaceChildren();
  const titled = (name) => name[0].toUpperCase() + name.slice(1);
  for (const [section, members] of Map.groupBy(figures, (figure) => figure.section ?? "depth")) {
    const charts = members.map((figure) => ready(figure, slug(figure.name)));
    depthView.root.append(el("h2", {}, titled(section)), ...charts.map((figure) => figure.root));
    for (const figure of charts) figure.draw();
  }
}

// The autopsies open one by one: their pictures are drawn when somebody looks.
function drawAutopsies() {
  const autopsies = page.data.autopsy
    ? [[null, page.data.autopsy]]
    : shownRuns()
        .filter((r) => r.autopsy?.figures.length) // of a kept one the tour has the numbers
        .map((r) => [r, r.autopsy]);
  autopsyView.root.hidden = !autopsies.length;
  autopsyView.open ??= new Set(page.data.autopsy ? [""] : []);
  autopsyView.root.replaceChildren(
    el(
      "p",
      { class: "soft" },
      "Measured on the trained models: what each layer is worth, which paths the gradient takes, and which token ",
      "the head gives when it is applied to the stream before each layer.",
    ),
    ...autopsies.map(([run, autopsy]) => autopsyOf(run, autopsy)),
  );
}

function autopsyOf(run, autopsy) {
  const key = run?.folder ?? "";
  const details = el(
    "details",
    { open: autopsyView.open.has(key) },
    el("summary", {}, run ? nameOf(run) : "This model"),
  );
  const show = () => {
    if (details.childElementCount > 1) return;
    const pictures = autopsy.figures.map((figure) =>
      ready(figure, `${slug(run ? nameOf(run) : "autopsy")}-${slug(figure.name)}`),
    );
    details.append(
      ...pictures.map((one) => one.root),
      el("h3", {}, "The head applied before each layer"),
      el(
        "p",
        { class: "soft" },
        "The likeliest next token at each place, one line per layer, under the text that the model reads.",
      ),
      el("pre", { class: "table", tabindex: 0, role: "region", "aria-label": "logit lens" }, autopsy.lens),
    );
    for (const one of pictures) one.draw();
  };
  details.addEventListener("toggle", () => {
    autopsyView.open[details.open ? "add" : "delete"](key);
    if (details.open) show();
  });
  if (details.open) requestAnimationFrame(show);
  return details;
}

// What each arm writes at the end, in full; how it came to that is folded behind it.
function drawSamples() {
  const arms = pairRuns();
  const able = shownRuns().filter((run) => run.samples.length);
  const first = able.filter((run) => arms.includes(run));
  const runs = spread([...first, ...able.filter((run) => !arms.includes(run))], SAMPLE_RUNS);
  samplesView.root.hidden = !runs.length;
  const open = samplesView.root.querySelector("details")?.open ?? false;
  const last = runs.map((run) => {
    const sample = run.samples.at(-1);
    return el(
      "figure",
      { class: "arm", "aria-label": `what ${nameOf(run)} writes` },
      el("h3", {}, capital(nameOf(run))),
      el("p", { class: "place" }, `after ${sample.step} updates`),
      el("pre", { class: "text" }, el("span", { class: "prompt" }, sample.prompt), sample.text),
    );
  });
  samplesView.root.replaceChildren(
    el("h2", {}, "What it writes"),
    el(
      "p",
      { class: "soft" },
      "Each arm goes on from the same first words (in grey), with the same random draws. Words and indentation take ",
      "more than one letter of context; letters in the right proportions take none.",
    ),
    el("div", { class: "arms" }, ...last),
    el("details", { open }, el("summary", {}, "How the texts changed while training"), samplesTable(runs)),
  );
}

function samplesTable(runs) {
  const steps = [...new Set(runs.flatMap((run) => run.samples.map((s) => s.step)))].sort((a, b) => a - b);
  const cell = (run, step) => {
    const sample = run.samples.find((s) => s.step === step);
    if (!sample) return el("td", {}, "–");
    const prompt = el("span", { class: "prompt" }, sample.prompt);
    return el("td", {}, el("pre", { class: "text" }, prompt, sample.text));
  };
  const head = el("tr", {}, el("th", {}, "step"), ...runs.map((run) => el("th", {}, nameOf(run))));
  const rows = steps.map((step) =>
    el("tr", {}, el("th", {}, String(step)), ...runs.map((run) => cell(run, step))),
  );
  return el(
    "div",
    { class: "wide-table samples", tabindex: 0, role: "region", "aria-label": "texts by training step" },
    el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)),
  );
}

function drawRecord() {
  const runs = page.data.runs;
  recordView.root.replaceChildren();
  if (!runs.length) {
    recordView.root.append(el("p", {}, "No run has begun yet."));
    return;
  }
  recordView.root.append(table(page.data.table, page.data.columns));
  for (const run of runs) recordView.root.append(recordOf(run));
  recordView.root.append(el("h3", {}, "What differs between these runs"), differencesTable());
}

// One run in words: diagnosis, early_warning, what is missing, where it comes from.
function recordOf(run) {
  const diagnosis =
    run.diagnosis || (run.status === "unfinished" ? "no diagnosis: unfinished" : "no diagnosis");
  const facts = [run.machine, `commit ${run.commit}`, `started ${run.started}`].join(" · ");
  const parts = [
    el(
      "p",
      { class: "diagnosis", style: `--colour: ${lineOf(run).color}` },
      el("b", {}, `${run.label}: `),
      diagnosis,
    ),
  ];
  if (run.early_warning)
    parts.push(el("p", { class: "early_warning" }, `Early warning: ${run.early_warning}`));
  if (run.notes.length)
    parts.push(el("ul", { class: "notes soft" }, ...run.notes.map((note) => el("li", {}, note))));
  parts.push(
    el("p", { class: "soft small" }, el("code", {}, run.command), el("br"), `${run.folder} · ${facts}`),
  );
  if (page.data.runs.length <= OPEN_RECORDS) return el("div", { "data-run": run.name }, ...parts);
  return el("details", { "data-run": run.name }, el("summary", {}, `${run.label}: ${run.status}`), ...parts);
}

function table(rows, meanings) {
  const number = (column) => !["run", "arm", "status"].includes(column);
  const head = Object.keys(rows[0]).map((c) =>
    el("th", { title: meanings[c], class: number(c) ? "number" : "" }, c),
  );
  const body = rows.map((row) =>
    el("tr", {}, ...Object.entries(row).map(([c, v]) => el("td", { class: number(c) ? "number" : "" }, v))),
  );
  return el(
    "div",
    { class: "wide-table", tabindex: 0, role: "region", "aria-label": "table of the runs" },
    el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)),
  );
}

// A line per run, a column per setting in which any two differ; what is not the commonest value is marked.
function differencesTable() {
  const rows = page.data.differences;
  if (!rows.length)
    return el(
      "p",
      { class: "soft" },
      page.data.runs.length > 1 ? "No setting differs." : "There is one run.",
    );
  const names = Object.keys(rows[0]).slice(1);
  const commonest = rows.map((row) => {
    const values = names.map((name) => row[name]);
    return values.reduce((a, b) =>
      values.filter((v) => v === b).length > values.filter((v) => v === a).length ? b : a,
    );
  });
  const line = (name) =>
    el(
      "tr",
      {},
      el("td", {}, name),
      ...rows.map((row, k) => {
        const different = row[name] !== commonest[k];
        return el("td", {}, different ? el("mark", {}, row[name]) : row[name]);
      }),
    );
  return el(
    "div",
    { class: "wide-table", tabindex: 0, role: "region", "aria-label": "table of the differences" },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, el("th", {}, "run"), ...rows.map((row) => el("th", {}, row.setting)))),
      el("tbody", {}, ...names.map(line)),
    ),
  );
}

const keep = (view) => (root) => {
  view.root = root;
};
page.sections.push(
  { id: "depth", build: keep(depthView), draw: drawDepthSection },
  { id: "autopsies", title: "Autopsies", build: keep(autopsyView), draw: drawAutopsies },
  { id: "samples", build: keep(samplesView), draw: drawSamples },
  { id: "record", title: "The record", build: keep(recordView), draw: drawRecord },
);
