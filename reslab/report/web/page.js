// The start of the page: theme, the choice of runs, its sections, and following runs that still train.

const POLL_MS = 2000;
const TOLD_RUNS = 4; // so few that each diagnosis has room at the top of the page
const live = "live" in document.body.dataset;

function drawAll() {
  document.getElementById("title").textContent = page.data.title;
  document.getElementById("about").textContent = page.data.about;
  const warnings = page.data.warnings ?? []; // the page of an autopsy has none
  const list = document.getElementById("warnings");
  list.hidden = !warnings.length;
  list.replaceChildren(...warnings.map((line) => el("li", {}, line)));
  const names = new Set(page.data.runs?.map((run) => run.folder));
  page.off = new Set([...page.off].filter((folder) => names.has(folder)));
  for (const section of page.sections) section.draw();
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
  let before;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.classList.add("paper"); // as wide as paper, so that charts are drawn for it
    setTheme("light");
    drawAll();
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    setTheme(before);
    drawAll();
  });
}

// Which runs are drawn: a box for each, in its colour.
const chooser = {
  id: "runs",
  build(root) {
    chooser.root = root;
    chooser.list = el("ul", { class: "runs" });
    chooser.texts = [];
    const all = (on) => () => {
      page.off = new Set(on ? [] : page.data.runs.map((run) => run.folder));
      drawAll();
    };
    chooser.all = el(
      "span",
      { class: "buttons small" },
      el("button", { type: "button", onclick: all(true) }, "all"),
      el("button", { type: "button", onclick: all(false) }, "none"),
    );
    root.append(el("h2", {}, "Runs"), chooser.all, chooser.list);
  },
  draw() {
    const runs = page.data.runs;
    chooser.root.hidden = !runs.length;
    chooser.all.hidden = runs.length < 5;
    chooser.list.classList.toggle("scroll", runs.length > 16);
    chooser.list.classList.toggle("told", runs.length <= TOLD_RUNS);
    const key = runs.map((run) => run.folder + run.label + lineOf(run).color).join("\n");
    if (chooser.key !== key) {
      chooser.key = key;
      chooser.boxes = runs.map((run) =>
        tick(run.label, true, (event) => {
          page.off[event.target.checked ? "delete" : "add"](run.folder);
          drawAll();
        }),
      );
      chooser.list.replaceChildren(
        ...chooser.boxes.map((box, k) => {
          box.input.dataset.run = runs[k].name;
          box.input.after(el("span", { class: "swatch", style: `--colour: ${lineOf(runs[k]).color}` }));
          chooser.texts[k] = el("span", { class: "soft" });
          return el("li", {}, box.root, chooser.texts[k]);
        }),
      );
    }
    chooser.boxes.forEach((box, k) => {
      box.input.checked = !page.off.has(runs[k].folder);
      chooser.texts[k].textContent =
        runs.length > TOLD_RUNS ? "" : runs[k].diagnosis || runs[k].early_warning || runs[k].status;
    });
  },
};

// Ask the local server for newer data, and say what trains and what has ended.
async function follow(tag) {
  const line = document.getElementById("live");
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
    tell(line, liveWords());
  } catch {
    tell(line, "The server has ended; the page shows what it had until then.");
  }
  setTimeout(follow, POLL_MS, next);
}

function liveWords() {
  const open = page.data.runs.filter((run) => run.status === "unfinished");
  const ended = page.data.runs
    .filter((run) => run.status !== "unfinished")
    .map((run) => `${run.label} ${run.status}`);
  const going = open.map((run) => `${run.label} at step ${run.curves.batch.step.at(-1) ?? 0}`);
  const waiting = page.data.waiting ?? []; // cells of a grid that have not begun
  const all = !open.length && !waiting.length && page.data.runs.length ? "All runs have ended. " : "";
  const rest = waiting.length
    ? [`${waiting.length} of ${waiting.length + page.data.runs.length} runs have not begun`]
    : [];
  return `${all}${[...ended, ...going, ...rest].join("; ") || "No run has begun yet."}`;
}

// A change alone is announced.
function tell(line, text) {
  if (line.textContent !== text) line.textContent = text;
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

function start() {
  page.sections = page.data.autopsy
    ? page.sections.filter((s) => s.id === "autopsies")
    : [chooser, ...page.sections];
  const main = document.getElementById("sections");
  for (const section of page.sections) {
    const root = el("section", { id: section.id, "aria-label": section.id });
    main.append(root);
    section.build(root);
  }
  startTheme();
  drawAll();
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

start();
