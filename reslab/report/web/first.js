// The first screen: the claim that the page's two arms make, their losses beside what the frequencies of letters
// alone give, and how far the gradient reaches in both while they train.

const FIRST_PROBE = "resid_gradient";
const firstView = {};

function buildFirst(root) {
  const view = firstView;
  view.root = root;
  view.losses = el("dl", { class: "losses" });
  view.notes = el("div", { class: "soft" });
  view.columns = el("div", { class: "columns" });
  view.scale = el("div", { class: "scale" });
  view.when = el("span", { class: "when" });
  view.says = el("p", { class: "small soft" });
  view.tour = el(
    "button",
    { type: "button", class: "first-button", onclick: () => goTour(1) },
    "Take the tour: 7 stops",
  );
  const figure = el(
    "figure",
    { class: "picture", "aria-label": "the gradient at every layer of both arms" },
    el("figcaption", {}, "The gradient at every layer, from the loss at the top down to layer 0"),
    el("div", { class: "controls" }, playButton(), view.when),
    view.columns,
    view.scale,
    view.says,
    pictureTools("first", firstPicture),
  );
  root.append(
    el("div", { class: "first" }, view.losses, figure, el("div", { class: "told" }, view.notes, view.tour)),
  );
  root.tabIndex = 0;
  root.addEventListener("keydown", reachKey);
}

function drawFirst() {
  const view = firstView;
  const { claim } = page.data;
  const runs = pairRuns();
  view.root.hidden = !claim || runs.includes(undefined);
  if (view.root.hidden) return;
  drawLosses(claim);
  view.notes.replaceChildren(
    ...(page.data.heading ? [el("p", {}, claim.heading)] : []),
    el("p", {}, lossInWords(claim)),
    ...claim.notes.map((note) => el("p", {}, note)),
  );
  const measured = canTour();
  view.columns.parentElement.hidden = !measured;
  view.tour.hidden = !measured;
  if (measured) drawFirstColumns(runs);
}

function lossInWords({ unit, baseline }) {
  const letter = unit === "character" ? "letter" : "token";
  const known =
    baseline === null
      ? "."
      : `; a model that knows only how often each ${letter} occurs has ${baseline.toFixed(2)}.`;
  return `Loss on text that neither has seen, in nats per ${unit}. Lower is better${known}`;
}

// Three numbers: what each arm ends on, and what the frequencies alone give.
function drawLosses(claim) {
  const rows = claim.rows.map(({ name, val, se, status, step }, k) => [
    capital(name),
    val === null ? "–" : val.toFixed(2),
    status === "finished" ? (se ? `± ${se.toFixed(2)}` : "") : `${status}, step ${step}`,
    lineOf(pairRuns()[k]).color,
  ]);
  rows.push([
    capital(claim.frequencies),
    claim.baseline === null ? "–" : claim.baseline.toFixed(2),
    "",
    css("--soft"),
  ]);
  firstView.losses.replaceChildren(
    ...rows.map(([name, value, note, colour]) =>
      el(
        "div",
        { style: `--colour: ${colour}` },
        el("dt", {}, name),
        el("dd", {}, el("b", {}, value), el("span", { class: "soft small" }, note)),
      ),
    ),
  );
}

function drawFirstColumns(runs) {
  const view = firstView;
  const steps = probedSteps(runs);
  const at = steps.findLast((step) => step <= (reachView.at ?? Infinity)) ?? steps[0];
  const values = runs.flatMap((run) => run.probes.values.map((row) => flat(row[FIRST_PROBE] ?? []).values));
  const scale = commonScale(values, "log");
  const lists = runs.map((run) => probeAt(run, FIRST_PROBE, at));
  const key = runs.map((run) => run.folder).join("\n");
  if (view.key !== key) {
    view.key = key;
    view.cells = runs.map((run, k) => reachColumn(run, page.data.claim.rows[k].name));
    view.columns.replaceChildren(...view.cells.map((cell) => cell.root));
  }
  view.cells.forEach((cell, k) => {
    cell.asked = at;
    fillColumn(cell, runs[k], FIRST_PROBE, lists[k], scale);
  });
  view.drawn = { runs, at, scale };
  view.when.textContent = `Training step ${at}`;
  drawScale(view.scale, scale, "");
  view.says.textContent = reachInWords(lists);
}

// What the two columns show: by how much the gradient at layer 0 is larger in one of them.
function reachInWords(lists) {
  const [ours, theirs] = lists.map((list) => list?.values[0] ?? null);
  if (ours === null || theirs === null || lists[0].step !== lists[1].step) return "";
  const none = [ours, theirs].indexOf(0);
  if (none >= 0) return `At layer 0 no gradient is left in the stack ${page.data.claim.rows[none].name}.`;
  const [more, less] = ours > theirs ? ["with skips", "without them"] : ["without skips", "with them"];
  const ratio = Math.max(ours, theirs) / Math.min(ours, theirs);
  return `At layer 0 the gradient is ${shown(ratio, 2)} times as large ${more} as ${less}.`;
}

function firstPicture() {
  const { runs, at, scale } = firstView.drawn;
  const columns = firstView.cells.map((cell, k) => ({
    name: nameOf(runs[k]),
    values: cell.values ?? [null],
    head: cell.head,
    note: shown(cell.values?.[0] ?? null, 2),
  }));
  const title = `${page.data.claim.heading} Training step ${at}`;
  const { label } = probeFacts(FIRST_PROBE);
  return columnsPicture({ title, columns, scale, label, origin: originOf(runs) });
}

page.sections.push({ id: "first", build: buildFirst, draw: drawFirst });
