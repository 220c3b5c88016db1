// The drawing of one block: its wires as thick as what they carry, its branch, its skip or what is left of it.

const WIRES = {
  in: { path: "M20 220 H120", arrow: [72, 220, 0] },
  skip: { path: "M120 220 H423", arrow: [280, 220, 0] },
  up: { path: "M120 220 V100 H205", arrow: [120, 160, -90] },
  down: { path: "M355 100 H440 V203", arrow: [440, 150, 90] },
  out: { path: "M457 220 H540", arrow: [508, 220, 0] },
};
// Without a skip there is no sum: what the branch gives is y.
const CUT_WIRES = {
  ...WIRES,
  down: { ...WIRES.down, path: "M355 100 H440 V220" },
  out: { ...WIRES.out, path: "M440 220 H540" },
};
delete CUT_WIRES.skip;

// `most` is the largest size among all that is drawn on the same scale, `skip` the weight of x in y.
function blockDrawing(run, sizes, step, most, skip) {
  const back = step.way === "backward";
  const drawing = svg("svg", {
    viewBox: "0 0 560 290",
    class: `drawing ${step.way}`,
    role: "img",
    "aria-label": `${run.label}: ${step.says} ${skipLabel(skip, back)}.`,
  });
  const carried = back
    ? { in: sizes.dx, skip: sizes.skip, up: sizes.branch, down: sizes.dy, out: sizes.dy }
    : {
        in: sizes.x,
        skip: sizes.x === null || skip === null ? null : Math.abs(skip) * sizes.x,
        up: sizes.x,
        down: sizes.f ?? sizes.raw,
        out: sizes.y,
      };
  for (const [name, wire] of Object.entries(skip === 0 ? CUT_WIRES : WIRES)) {
    const width = carried[name] === null || !most ? 2 : 1.2 + 9.5 * (carried[name] / most);
    drawWire(drawing, name, wire, step.wires.includes(name), width, back, name === "skip" && skip === null);
  }
  if (skip === 0) drawCut(drawing);
  const box = step.box ? "box on" : "box";
  drawing.append(
    svg("rect", { x: 205, y: 62, width: 150, height: 76, rx: 10, class: box }),
    svg("text", { x: 280, y: 97, class: "math" }, back ? "dF/dx" : "F"),
    svg("text", { x: 280, y: 124, class: "label" }, ["attention", "MLP"][blockView.kind]),
    svg("circle", { cx: 120, cy: 220, r: 5, fill: css("--ink") }),
  );
  if (skip !== 0) {
    drawing.append(
      svg("circle", { cx: 440, cy: 220, r: 17, class: "box" }),
      svg("text", { x: 440, y: 227 }, "+"),
    );
  }
  const on = (key) => `value ${step.sizes.includes(key) ? "on" : ""}`;
  const added = sizes.f === null ? "raw" : "f";
  const [left, right, top, low] = back ? ["dx", "dy", "branch", "skip"] : ["x", "y", added, "x"];
  const upper = back ? "through the branch" : added === "f" ? "what is added" : "what the branch gives";
  drawing.append(
    svg("text", { x: 60, y: 196, class: "math" }, back ? "dL/dx" : "x"),
    svg("text", { x: 64, y: 258, class: on(left) }, shown(sizes[left])),
    svg("text", { x: 504, y: 196, class: "math" }, back ? "dL/dy" : "y"),
    svg("text", { x: 500, y: 258, class: on(right) }, shown(sizes[right])),
    svg("text", { x: 280, y: 24, class: "label" }, upper),
    svg("text", { x: 280, y: 48, class: on(top) }, shown(sizes[top])),
    svg("text", { x: 280, y: 282, class: "label" }, skipLabel(skip, back)),
  );
  if (skip !== 0) {
    const size = back || skip === null ? sizes[low] : Math.abs(skip) * (sizes.x ?? Number.NaN);
    drawing.append(
      svg(
        "text",
        { x: 280, y: 258, class: on(low) },
        skip === null && !back ? "" : shown(Number.isNaN(size) ? null : size),
      ),
    );
  }
  return drawing;
}

function skipLabel(skip, back) {
  if (skip === 0) return back ? "no +1: only dF/dx is left" : "the skip is cut";
  if (skip === null) return "the skip is no constant times x";
  const weight = shown(skip);
  return back ? `through the skip, × ${weight}` : skip === 1 ? "the skip: x itself" : `the skip: ${weight} x`;
}

function drawWire(drawing, name, { path, arrow: [x, y, turn] }, on, width, back, dashed) {
  const state = on ? "on" : "";
  const wire = svg("path", {
    d: path,
    class: `wire ${state}`,
    "stroke-width": width.toFixed(2),
    "data-wire": name,
  });
  if (dashed) wire.setAttribute("stroke-dasharray", "9 9");
  drawing.append(wire);
  if (!on) return;
  if (width > 4) drawing.append(svg("path", { d: path, class: "flow on" }));
  const size = 8 + width / 2;
  drawing.append(
    svg("path", {
      d: `M${-size} ${-size} L${size} 0 L${-size} ${size} Z`,
      fill: css(back ? "--backward" : "--forward"),
      transform: `translate(${x} ${y}) rotate(${turn + (back ? 180 : 0)})`,
    }),
  );
}

// What is left of the skip: two stubs with a gap.
function drawCut(drawing) {
  for (const path of ["M128 220 H215", "M345 220 H428"]) {
    drawing.append(
      svg("path", {
        d: path,
        class: "wire",
        "stroke-width": 2,
        "stroke-dasharray": "3 8",
        "data-wire": "cut",
      }),
    );
  }
  for (const x of [222, 338]) drawing.append(svg("path", { d: `M${x - 7} 234 L${x + 7} 206`, class: "cut" }));
}
