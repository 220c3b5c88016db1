// On a page of many runs a section is drawn when it comes into view, and one at a time, so that a click on a box
// is answered at once. On other pages all of them are drawn at once.

const LAZY_RUNS = 12; // more runs than this are many
const AHEAD = 300; // pixels below the window that count as in view
const lazy = { stale: new Set(), timer: 0 };

const inView = ({ root }) => {
  const { top, bottom } = root.getBoundingClientRect();
  return root.hidden || (bottom > -AHEAD && top < innerHeight + AHEAD);
};

// Draw the sections, those of a page of many runs as they come into view. The list of runs is always there.
function drawSections() {
  if (page.data.runs.length <= LAZY_RUNS) {
    for (const section of page.sections) drawSection(section);
    return;
  }
  for (const section of page.sections) {
    if (section.id === "runs") drawSection(section);
    else lazy.stale.add(section);
    if (!section.drawn && !section.fold) section.root.classList.add("undrawn");
  }
  drawNext();
}

function drawNext() {
  clearTimeout(lazy.timer);
  lazy.timer = setTimeout(() => {
    const next = [...lazy.stale].find(inView);
    if (!next) return;
    drawStale(next);
    drawNext();
  });
}

// Draw one section that was put off, or all of them: for paper, and for pictures of the page.
function drawStale(...sections) {
  for (const section of sections.length ? sections : [...lazy.stale]) {
    lazy.stale.delete(section);
    section.drawn = true;
    section.root.classList.remove("undrawn");
    drawSection(section);
  }
}

addEventListener("scroll", drawNext, { passive: true });
