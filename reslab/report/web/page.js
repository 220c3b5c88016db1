// The start of the page: its sections in their order, theme, choice of runs, and following runs that still train.

const POLL_MS = 2000;
const live = "live" in document.body.dataset;
// It fails, why, how far, what it writes, depth; then what a reader opens. A file of its own may add a section
// under one of these names: page.sections.push({id, build, draw}), and `title` where it is folded at first.
const ORDER = ["first", "runs", "block", "reach", "samples", "depth", "dial", "live"];
ORDER.push("curves", "maps", "autopsies", "record");
const LABELS = { first: "What the runs show", runs: "The runs", block: "One block", reach: "Every layer" };
Object.assign(LABELS, { samples: "What it writes", depth: "Depth" });

function drawAll() {
  document.title = page.data.heading || (page.data.claim?.heading ?? page.data.title);
  document.getElementById("title").textContent = document.title;
  document.getElementById("about").textContent = page.data.about;
  const warnings = page.data.warnings ?? []; // the page of an autopsy has none
  const list = document.getElementById("warnings");
  list.hidden = !warnings.length;
  list.replaceChildren(...warnings.map((line) => el("li", {}, line)));
  const folders = new Set(page.data.runs?.map((run) => run.folder));
  page.off = new Set([...page.off].filter((folder) => folders.has(folder)));
  if (!page.data.runs.some((run) => run.layers === page.depth)) page.depth = null;
  drawSections();
}

function drawSection(section) {
  section.draw();
  if (section.fold) section.root.hidden = section.inner.hidden;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  button.textContent = theme === "dark" ? "Light" : "Dark";
  button.setAttribute("aria-label", `${button.textContent} colours`);
}

function startTheme() {
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    setTheme(prefersDark.matches ? "dark" : "light");
    drawAll();
  };
  const button = document.getElementById("theme");
  button.addEventListener("click", () => {
    prefersDark.removeEventListener("change", follow);
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    drawAll();
  });
  prefersDark.addEventListener("change", follow);
  setTheme(prefersDark.matches ? "dark" : "light");
  startPrinting();
}

// On paper everything is open, light, and as wide as paper.
function startPrinting() {
  let before;
  addEventListener("beforeprint", () => {
    const folds = page.sections.filter((section) => section.fold && !section.fold.open);
    before = { theme: document.documentElement.dataset.theme, folds };
    for (const section of folds) section.fold.open = true;
    document.documentElement.classList.add("paper"); // so that charts are drawn for it
    setTheme("light");
    drawAll();
    drawStale();
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    for (const section of before.folds) section.fold.open = false;
    setTheme(before.theme);
    drawAll();
  });
}

// Ask the local server for newer data, and say what trains and what has ended.
async function follow(tag) {
  const line = document.getElementById("following");
  line.hidden = false;
  let next = tag;
  try {
    const answer = await fetch("data.json", {
      cache: "no-store",
      headers: tag ? { "If-None-Match": tag } : {},
    });
    if (answer.status === 200) {
      next = answer.headers.get("ETag");
      page.data = await answer.json();
      drawAll();
    } else if (answer.status !== 304) {
      throw new Error(`status ${answer.status}`);
    }
    line.textContent = liveWords();
  } catch {
    line.textContent = "The server has ended; the page shows what it had until then.";
  }
  announce(line.textContent);
  setTimeout(follow, POLL_MS, next);
}

function liveWords() {
  const open = page.data.runs.filter((run) => run.status === "unfinished");
  const ended = page.data.runs
    .filter((run) => run.status !== "unfinished")
    .map((run) => `${nameOf(run)} ${run.status}`);
  const going = open.map((run) => `${nameOf(run)} at step ${run.curves.batch.step.at(-1) ?? 0}`);
  const waiting = page.data.waiting ?? []; // cells of a grid that have not begun
  const all = !open.length && !waiting.length && page.data.runs.length ? "All runs have ended. " : "";
  const rest = waiting.length
    ? [`${waiting.length} of ${waiting.length + page.data.runs.length} runs have not begun`]
    : [];
  return `${all}${[...ended, ...going, ...rest].join("; ") || "No run has begun yet."}`;
}

// Plotly takes most of the page's start, so it comes after the first picture, which needs none of it.
function addCharts() {
  const library = document.getElementById("plotly");
  document.head.append(el("script", {}, library.textContent));
  library.remove();
  drawAll();
  document.documentElement.dataset.ready = "true";
  if (live) follow(null);
}

// A section's place on the page. One with a title is folded at first and drawn when it is opened.
function addSection(main, section) {
  section.root = el("section", {
    id: section.id,
    "aria-label": section.title ?? LABELS[section.id] ?? section.id,
  });
  section.inner = section.root;
  if (section.title) {
    section.inner = el("div");
    const open = Boolean(page.data.autopsy) || page.only === section.id;
    section.fold = el("details", { class: "fold", open }, el("summary", {}, el("h2", {}, section.title)));
    section.fold.append(section.inner);
    section.fold.addEventListener("toggle", () => section.fold.open && drawSection(section));
    section.root.append(section.fold);
  }
  main.append(section.root);
  section.build(section.inner);
}

function start() {
  page.sections.push(chooser);
  if (page.data.autopsy) page.sections = page.sections.filter((s) => s.id === "autopsies");
  page.sections.sort((a, b) => ORDER.indexOf(a.id) - ORDER.indexOf(b.id));
  if (page.sections.some((section) => section.id === page.only)) {
    document.documentElement.dataset.only = page.only;
  }
  const main = document.getElementById("sections");
  for (const section of page.sections) addSection(main, section);
  startOnly();
  startTheme();
  drawAll();
  startTour();
  requestAnimationFrame(() => setTimeout(addCharts));
  let width = innerWidth;
  let waiting;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // a phone's address bar comes and goes
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
  const name = page.data.title.replaceAll(/[^A-Za-z0-9]+/g, "-");
  document.getElementById("download").addEventListener("click", () => {
    save(`${name}.json`, JSON.stringify(page.data, null, 1), "application/json");
  });
}

// A page that shows one section alone, as a link with `show` asks: the others stay away, and a way back is there.
function startOnly() {
  const only = document.documentElement.dataset.only;
  if (!only) return;
  for (const section of page.sections) section.root.classList.toggle("away", section.id !== only);
  const whole = new URLSearchParams(link);
  whole.delete("show");
  const back = el("a", { href: `${location.href.split(/[?#]/)[0]}?${whole}` }, "The whole page");
  document.getElementById("sections").append(el("p", { class: "small" }, back));
}

start();
