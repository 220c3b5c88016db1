// Which runs are drawn: a box for each group of seeds, or for each run where there are few, in its colour; one
// depth of several; and a search where the list is long.

const TOLD_RUNS = 4; // so few that each diagnosis has room beside its box
const FEW_RUNS = 2; // so few that they need no choice before the first section
const GROUPED_RUNS = 8; // more than this are shown as groups of seeds
const SEARCHED = 12; // more boxes than this can be searched

const chooser = {
  id: "runs",
  build(root) {
    chooser.root = root;
    chooser.list = el("ul", { class: "runs" });
    const all = (on) => () => {
      for (const entry of chooser.entries) if (!entry.root.hidden) switchRuns(entry.runs, on);
      drawAll();
    };
    chooser.all = el(
      "span",
      { class: "buttons small" },
      el("button", { type: "button", onclick: all(true) }, "all"),
      el("button", { type: "button", onclick: all(false) }, "none"),
    );
    chooser.search = el("input", {
      type: "search",
      placeholder: "find runs",
      "aria-label": "find runs",
      oninput: searchRuns,
    });
    chooser.depth = choice("layers", [], (event) => {
      page.depth = Number(event.target.value) || null;
      remember("depth", page.depth);
      drawAll();
    });
    chooser.summary = el("summary", {});
    const controls = el("div", { class: "controls" }, chooser.search, chooser.all, chooser.depth.root);
    chooser.details = el("details", {}, chooser.summary, controls, chooser.list);
    root.append(chooser.details);
  },
  draw() {
    const runs = page.data.runs;
    chooser.root.hidden = !runs.length;
    chooser.all.hidden = runs.length < 5;
    const depths = [...new Set(runs.map((run) => run.layers))].sort((a, b) => a - b);
    chooser.depth.root.hidden = depths.length < 2;
    fill(chooser.depth.input, [["", "all"], ...depths.map((n) => [n, n])], page.depth ?? "");
    const count = shownRuns().length;
    chooser.summary.textContent =
      count === runs.length ? `The runs (${count})` : `The runs (${count} of ${runs.length})`;
    const key = runs.map((run) => run.folder + run.label + lineOf(run).color).join("\n");
    if (chooser.key !== key) {
      if (chooser.key === undefined) chooser.details.open = runs.length > FEW_RUNS;
      chooser.key = key;
      fillChooser(runs);
    }
    for (const entry of chooser.entries) drawEntry(entry);
  },
};

function switchRuns(runs, on) {
  for (const run of runs) page.off[on ? "delete" : "add"](run.folder);
}

// The boxes: of groups where there are many runs, and some differ in their seed alone.
function fillChooser(runs) {
  const grouped = runs.length > GROUPED_RUNS;
  const groups = Map.groupBy(runs, (run) => (grouped ? run.group : run.folder));
  chooser.entries = [...groups.values()].map(runEntry);
  chooser.list.replaceChildren(...chooser.entries.map((entry) => entry.root));
  chooser.list.classList.toggle("scroll", chooser.entries.length > 16);
  chooser.list.classList.toggle("told", runs.length <= TOLD_RUNS);
  chooser.search.hidden = chooser.entries.length <= SEARCHED;
  searchRuns();
}

// One box, for some runs that differ in their seed alone; those of several runs unfold into a box for each.
function runEntry(runs) {
  const [run] = runs;
  const name = nameOf(run).includes(run.label) ? nameOf(run) : `${nameOf(run)} (${run.label})`;
  const label = runs.length > 1 ? run.group_label : name;
  const box = tick(label, true, (event) => {
    switchRuns(runs, event.target.checked);
    drawAll();
  });
  box.input.after(el("span", { class: "swatch", style: `--colour: ${lineOf(run).color}` }));
  const text = el("span", { class: "soft" });
  const entry = { runs, box, text, label, parts: [], root: el("li", {}, box.root, text) };
  if (runs.length === 1) box.input.dataset.run = run.name;
  else entry.root.append(seedsOf(entry));
  return entry;
}

function seedsOf(entry) {
  const list = el("ul", { class: "runs" });
  const details = el(
    "details",
    { class: "seeds small" },
    el("summary", {}, `${entry.runs.length} seeds`),
    list,
  );
  details.addEventListener("toggle", () => {
    if (entry.parts.length) return;
    entry.parts = entry.runs.map((run) => runEntry([run]));
    list.append(...entry.parts.map((part) => part.root));
    for (const part of entry.parts) drawEntry(part);
  });
  return details;
}

function drawEntry({ runs, box, text, parts }) {
  const on = runs.filter((run) => !page.off.has(run.folder)).length;
  box.input.checked = on > 0;
  box.input.indeterminate = on > 0 && on < runs.length;
  const [run] = runs;
  text.textContent =
    page.data.runs.length > TOLD_RUNS ? "" : run.diagnosis || run.early_warning || run.status;
  for (const part of parts) drawEntry(part);
}

// Show the boxes in whose names all words of the search are.
function searchRuns() {
  const words = chooser.search.hidden ? [] : chooser.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const entry of chooser.entries) {
    const names = [entry.label, ...entry.runs.map((run) => `${run.label} ${run.name} ${run.status}`)];
    const text = names.join(" ").toLowerCase();
    entry.root.hidden = !words.every((word) => text.includes(word));
  }
}
