// The tour: one stop after the other over the views of this page. Each has a question, and its answer is shown when
// it is asked for. The stop and the answer are in the address; the keyboard alone suffices, and Escape ends it.

const tour = { stop: null, answered: false };

function buildTour() {
  tour.place = el("p", { class: "soft small" });
  tour.title = el("h2", { tabindex: -1 });
  tour.formula = el("div", { class: "formula-row" });
  tour.question = el("p", { class: "question" });
  tour.answer = el("p", { class: "answer" });
  const button = (words, action) => el("button", { type: "button", onclick: action }, words);
  tour.show = button("Show the answer", () => answerTour());
  tour.back = button("◀ Back", () => goTour(tour.stop - 1));
  tour.next = button("Next stop ▶", () => goTour(tour.stop + 1));
  const buttons = el(
    "div",
    { class: "buttons" },
    tour.back,
    tour.show,
    tour.next,
    button("End the tour", endTour),
  );
  tour.root = el(
    "aside",
    { id: "tour", "aria-label": "tour", hidden: true },
    el("div", { class: "tour-head" }, tour.title, tour.place),
    tour.formula,
    tour.question,
    tour.answer,
    buttons,
  );
  tour.root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") endTour();
    else if (event.key === "ArrowRight") goTour(tour.stop + 1);
    else if (event.key === "ArrowLeft") goTour(tour.stop - 1);
    else if (event.key === "Home") goTour(1);
    else if (event.key === "End") goTour(STOPS.length);
    else return;
    event.preventDefault();
  });
  document.body.append(tour.root);
}

// The tour is about two arms whose gradients were measured.
const canTour = () => {
  const runs = pairRuns();
  return runs.length === 2 && runs.every((run) => run && keepsProbe(run, FIRST_PROBE));
};

// Go to a stop, 1 to 7, and set the view that it is about.
function goTour(number) {
  if (number < 1 || number > STOPS.length || !canTour()) return;
  if (tour.stop !== number) tour.answered = false;
  tour.stop = number;
  remember("tour", number);
  remember("answer", tour.answered ? 1 : null);
  const stop = STOPS[number - 1];
  document.documentElement.classList.add("touring"); // before anything is drawn: it leaves less room
  setView(stop);
  drawTour();
  const section = page.sections.find((one) => one.id === stop.view);
  section.root.scrollIntoView({ block: "start" });
  tour.title.focus({ preventScroll: true });
  announce(`Stop ${number} of ${STOPS.length}: ${stop.title}. ${stop.question}`);
}

function setView(stop) {
  const wanted = stop.set(tourFacts());
  page.depth = null;
  for (const run of pairRuns()) page.off.delete(run.folder);
  if (stop.view === "block") {
    blockView.picks.forEach((pick, k) => {
      fill(pick.input, [[pairRuns()[k].folder, nameOf(pairRuns()[k])]]);
    });
    Object.assign(blockView, { step: wanted.part, layer: wanted.layer, kind: wanted.kind, at: wanted.step });
  } else {
    reachView.at = wanted.step;
    reachView.probe = wanted.probe ?? reachView.probe;
  }
  drawAll();
}

function drawTour() {
  const stop = STOPS[tour.stop - 1];
  tour.root.hidden = false;
  tour.place.textContent = `stop ${tour.stop} of ${STOPS.length}`;
  tour.title.textContent = stop.title;
  tour.formula.replaceChildren(stop.formula());
  tour.question.textContent = stop.question;
  tour.answer.textContent = tour.answered ? stop.answer(tourFacts()) : "";
  tour.answer.hidden = !tour.answered;
  tour.show.hidden = tour.answered;
  tour.back.setAttribute("aria-disabled", tour.stop === 1);
  tour.next.setAttribute("aria-disabled", tour.stop === STOPS.length);
}

function answerTour() {
  tour.answered = true;
  remember("answer", 1);
  drawTour();
  tour.next.focus({ preventScroll: true });
  announce(tour.answer.textContent);
}

function endTour() {
  tour.root.hidden = true;
  document.documentElement.classList.remove("touring");
  drawAll();
  tour.stop = null;
  remember("tour", null);
  remember("answer", null);
  firstView.tour.focus();
}

// Where the address names a stop, begin there.
function startTour() {
  buildTour();
  const number = linkNumber("tour");
  if (!number || !canTour()) return;
  tour.answered = link.has("answer");
  tour.stop = number;
  goTour(number);
}
