// Figures that plotly does not draw, as pictures that stand alone: title, arms, step and runs are in them.

const PICTURE_STYLES = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "stroke-linecap",
  "stroke-linejoin",
  "opacity",
  "paint-order",
  "font-family",
  "font-size",
  "font-style",
  "font-weight",
  "text-anchor",
];

// Where the numbers of some runs come from, in one line.
const originOf = (runs) =>
  runs.map((run) => `${nameOf(run)}: ${run.arm}, ${run.layers} layers, ${run.name}`).join("; ");

// A copy of a drawing that needs no style sheet.
function styledCopy(drawing) {
  const copy = drawing.cloneNode(true);
  const parts = [copy, ...copy.querySelectorAll("*")];
  [drawing, ...drawing.querySelectorAll("*")].forEach((part, k) => {
    const style = getComputedStyle(part);
    parts[k].setAttribute(
      "style",
      PICTURE_STYLES.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"),
    );
  });
  return copy;
}

// An empty picture with a title at its top and the origin of its numbers at its bottom.
function framed(width, height, title, origin) {
  const font = getComputedStyle(document.body).fontFamily;
  const [above, below] = [wrapped(title, width / 10).split("<br>"), wrapped(origin, width / 7).split("<br>")];
  const top = 20 + 24 * above.length;
  const whole = top + height + 20 + 17 * below.length;
  const root = svg("svg", {
    xmlns: "http://www.w3.org/2000/svg",
    viewBox: `0 0 ${width} ${whole}`,
    width,
    height: whole,
    "font-family": font,
  });
  root.append(svg("rect", { width, height: whole, fill: css("--paper") }));
  above.forEach((line, k) => {
    root.append(svg("text", { x: 16, y: 30 + 24 * k, "font-size": 17, fill: css("--ink") }, line));
  });
  below.forEach((line, k) => {
    const y = top + height + 20 + 17 * k;
    root.append(svg("text", { x: 16, y, "font-size": 12, fill: css("--soft") }, line));
  });
  return { root, top };
}

const svgText = (root) => new XMLSerializer().serializeToString(root);

// An SVG as a PNG's data address, twice as large.
function pngOf(root) {
  const [width, height] = ["width", "height"].map((key) => Number(root.getAttribute(key)));
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => {
      const canvas = el("canvas", { width: 2 * width, height: 2 * height });
      canvas.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
      done(canvas.toDataURL("image/png"));
    };
    image.onerror = () => failed(new Error("the picture can't be drawn"));
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText(root))}`;
  });
}

// The buttons of a figure that `draw` makes as an SVG element.
const pictureTools = (name, draw) =>
  figureTools(name, { svg: async () => svgText(draw()), png: async () => pngOf(draw()) });

// Columns of layers as an SVG: [{name, values, head, note}], on a common scale; a drawing may stand beside them.
function columnsPicture({ title, columns, scale, label, origin, beside = null }) {
  const [wide, high, left, drawn] = [150, 420, 24, 460];
  const edge = left + columns.length * wide;
  const width = Math.max(460, edge + 10 + (beside ? drawn + 14 : 0));
  const { root, top } = framed(width, high + 110, title, origin);
  if (beside) {
    const copy = styledCopy(beside);
    const [, , across, down] = beside.getAttribute("viewBox").split(" ").map(Number);
    const height = (drawn * down) / across;
    const size = { x: edge, y: top + 46 + (high - height) / 2, width: drawn, height };
    for (const [key, value] of Object.entries(size)) copy.setAttribute(key, value);
    root.append(copy);
  }
  const write = (x, y, words, size = 13) =>
    root.append(svg("text", { x, y, "font-size": size, fill: css("--ink"), "text-anchor": "middle" }, words));
  columns.forEach(({ name, values, head, note }, k) => {
    const x = left + k * wide;
    write(x + 55, top + 18, name, 14);
    write(x + 55, top + 38, head, 12);
    const step = high / values.length;
    values.forEach((value, layer) => {
      const fill = value === null ? "#888" : `rgb(${viridis(scale.place(value)).join()})`;
      const y = top + 46 + high - (layer + 1) * step;
      root.append(svg("rect", { x, y, width: 110, height: step + 0.3, fill }));
    });
    write(x + 55, top + high + 64, "layer 0", 12);
    write(x + 55, top + high + 82, note, 12);
  });
  const words = `${label}: dark is ${lowEnd(scale)}, bright is ${highEnd(scale)}`;
  root.append(svg("text", { x: 16, y: top + high + 104, "font-size": 13, fill: css("--ink") }, words));
  return root;
}
