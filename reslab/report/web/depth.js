// The figures that Python drew: of many runs, and of autopsies.

const depthView = {};

// Figures that Python drew, each with its name and caption.
function ready(figure, name) {
  const drawn = chart(name);
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
  const figures = page.data.figures ?? [];
  depthView.root.hidden = !figures.length;
  depthView.root.replaceChildren();
  const titled = (name) => name[0].toUpperCase() + name.slice(1);
  for (const [section, members] of Map.groupBy(figures, (figure) => figure.section ?? "depth")) {
    const drawn = members.map((figure) => ready(figure, slug(figure.name)));
    depthView.root.append(el("h2", {}, titled(section)), ...drawn.map((figure) => figure.root));
    for (const figure of drawn) figure.draw();
  }
}

const keep = (view) => (root) => {
  view.root = root;
};
page.sections.push({ id: "depth", build: keep(depthView), draw: drawDepthSection });
