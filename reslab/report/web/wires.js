// The drawing of one block, upwards as the layers are: x below, y above, the skip on the left, the branch on the
// right. Wires are as thick as what they carry.

const WIRES = {
  in: { path: "M100 326 V290", arrow: [100, 304, -90] },
  skip: { path: "M100 290 V77", arrow: [100, 180, -90] },
  up: { path: "M100 290 H220 V222", arrow: [220, 256, -90] },
  down: { path: "M220 138 V60 H117", arrow: [164, 60, 180] },
  out: { path: "M100 43 V6", arrow: [100, 26, -90] },
};
// Without a skip there is no sum: what the branch gives is y.
const CUT_WIRES = {
  ...WIRES,
  down: { ...WIRES.down, path: "M220 138 V60 H100" },
  out: { ...WIRES.out, path: "M100 60 V6" },
};
delete CUT_WIRES.skip;

// The thickest and the thinnest wire, and how many powers of ten lie between them where widths are logarithmic.
const THICK = 12;
const THIN = 2;
const WIRE_DECADES = 6;

// How thick a wire is: forward in proportion to what it carries; backward by the logarithm, since gradients
// differ by powers of ten.
function wireWidth(value, most, back) {
  if (value === null || !most || value <= 0) return THIN;
  const share = back ? 1 + Math.log10(value / most) / WIRE_DECADES : value / most;
  return THIN + (THICK - THIN) * Math.max(0, share);
}

// `most` is the largest size among all that is drawn on the same scale, `wiring` says what x is worth in y.
function blockDrawing(run, sizes, step, most, wiring) {
  const { skip } = wiring;
  const back = step.way === "backward";
  const drawing = svg("svg", {
    viewBox: "0 0 300 332",
    class: `drawing ${step.way}`,
    role: "img",
    "aria-label": `${nameOf(run)}: ${step.says} ${skipLabel(skip, back)}.`,
  });
  const carried = back
    ? {
        in: sizes.dx,
        skip: sizes.skip,
        up: sizes.branch,
        down: skip === null ? null : sizes.dy, // past a gate or a norm it is not dL/dy that comes
        out: sizes.dy,
      }
    : {
        in: sizes.x,
        skip: sizes.x === null || skip === null ? null : Math.abs(skip) * sizes.x,
        up: sizes.x,
        down: sizes.f ?? sizes.raw,
        out: sizes.y,
      };
  for (const [name, wire] of Object.entries(skip === 0 ? CUT_WIRES : WIRES)) {
    const width = wireWidth(carried[name], most, back);
    drawWire(drawing, name, wire, step.wires.includes(name), width, back, name === "skip" && skip === null);
  }
  if (skip === 0) drawCut(drawing);
  drawBranch(drawing, step, back, wiring);
  drawing.append(svg("circle", { cx: 100, cy: 290, r: 5, fill: css("--ink") }));
  if (skip !== 0) drawJoin(drawing, skip);
  if (isScaled(sizes)) drawGain(drawing);
  writeSizes(drawing, sizes, step, skip);
  return drawing;
}

function drawBranch(drawing, step, back, wiring) {
  const kind = ["attention", "MLP"][blockView.kind];
  const reads = /F\(N/.test(wiring.equation) ? `${kind} of N(x)` : kind;
  drawing.append(
    svg("rect", { x: 148, y: 138, width: 144, height: 84, rx: 10, class: step.box ? "box on" : "box" }),
    svg("text", { x: 220, y: 178, class: "math", "text-anchor": "middle" }, back ? "dF/dx" : "F"),
    svg("text", { x: 220, y: 206, class: "label", "text-anchor": "middle" }, reads),
  );
}

// The sum of skip and branch; where the skip is no constant, the equation says how they join.
function drawJoin(drawing, skip) {
  if (skip === null) {
    drawing.append(
      svg("rect", { x: 68, y: 43, width: 64, height: 34, rx: 6, class: "box" }),
      svg("text", { x: 100, y: 66, class: "label", "text-anchor": "middle" }, "join"),
    );
    return;
  }
  drawing.append(
    svg("circle", { cx: 100, cy: 60, r: 17, class: "box" }),
    svg("text", { x: 100, y: 67, "text-anchor": "middle" }, "+"),
  );
}

// Whether a gain or an outer norm stands behind F: then what is added has another size than F.
const isScaled = ({ raw, f }) => raw !== null && f !== null && Math.abs(f - raw) > 0.02 * raw;

function drawGain(drawing) {
  drawing.append(
    svg("rect", { x: 190, y: 82, width: 60, height: 34, rx: 6, class: "box" }),
    svg("text", { x: 220, y: 105, class: "label", "text-anchor": "middle" }, "gain"),
  );
}

// The numbers beside the wires.
function writeSizes(drawing, sizes, step, skip) {
  const back = step.way === "backward";
  const added = sizes.f === null ? "raw" : "f";
  const [below, above, branch] = back ? ["dx", "dy", "branch"] : ["x", "y", added];
  const write = (x, y, key, words, anchor) =>
    drawing.append(
      svg(
        "text",
        { x, y, class: `value ${step.sizes.includes(key) ? "on" : ""}`, "text-anchor": anchor },
        words,
      ),
    );
  const name = (x, y, words) =>
    drawing.append(svg("text", { x, y, class: "math", "text-anchor": "end" }, words));
  name(84, 324, back ? "dL/dx" : "x");
  write(114, 324, below, shown(sizes[below]), "start");
  name(84, 28, back ? "dL/dy" : "y");
  write(114, 26, above, shown(sizes[above]), "start");
  write(isScaled(sizes) && !back ? 182 : 208, back ? 262 : 108, branch, shown(sizes[branch]), "end");
  if (skip === 0) return;
  const past = back ? sizes.skip : skip === null || sizes.x === null ? null : Math.abs(skip) * sizes.x;
  if (past !== null) write(88, 176, back ? "skip" : "x", shown(past), "end");
  if (skip !== null && skip !== 1) {
    drawing.append(svg("text", { x: 88, y: 200, class: "label", "text-anchor": "end" }, `× ${shown(skip)}`));
  }
}

function skipLabel(skip, back) {
  if (skip === 0) return back ? "No 1 is added: only dF/dx is left" : "The skip is cut";
  if (skip === null) return "What goes past the branch is no constant times x";
  const weight = shown(skip);
  return back
    ? `Through the skip, times ${weight}`
    : skip === 1
      ? "The skip: x itself"
      : `The skip: ${weight} x`;
}

function drawWire(drawing, name, { path, arrow: [x, y, turn] }, on, width, back, dashed) {
  const state = on ? "on" : "";
  const wire = svg("path", { d: path, class: `wire ${state}`, "stroke-width": width, "data-wire": name });
  if (dashed) wire.setAttribute("stroke-dasharray", "9 9");
  drawing.append(wire);
  if (on && width > 4) drawing.append(svg("path", { d: path, class: "flow on" }));
  if (!on) return;
  const size = 6 + width / 3;
  drawing.append(
    svg("path", {
      d: `M${-size} ${-size} L${size} 0 L${-size} ${size} Z`,
      class: "arrow",
      transform: `translate(${x} ${y}) rotate(${turn + (back ? 180 : 0)})`,
    }),
  );
}

// What is left of the skip: two stubs with a gap.
function drawCut(drawing) {
  for (const path of ["M100 282 V215", "M100 150 V72"]) {
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
  for (const y of [208, 157]) drawing.append(svg("path", { d: `M86 ${y + 7} L114 ${y - 7}`, class: "cut" }));
}
