// The live section: two small stacks, with and without skips, that train in this browser when it is asked to.
// Each has a worker of its own; both make the same updates on the same batches.

const LIVE = {
  shape: { T: 32, C: 32, H: 2, L: 8 },
  options: { sequences: 4, rate: 3e-3, warmup: 10, beta1: 0.9, beta2: 0.99, eps: 1e-8, decay: 0.1, clip: 1 },
  updates: 2, // between two looks
  point: 10, // updates whose mean loss is one point of a curve
  last: 1000, // so that a forgotten page comes to rest
};
const LIVE_ARMS = [
  { name: "with skips", skip: 1, equation: "y = x + F(N(x))" },
  { name: "without skips", skip: 0, equation: "y = F(N(x))" },
];
const liveView = { running: false, step: 0, arms: [] };

// What the stacks learn: the source of this page's own scripts, one character a token.
function liveText() {
  const text = document.getElementById("scripts").textContent;
  const characters = [...new Set(text)].sort();
  const places = new Map(characters.map((character, k) => [character, k]));
  return { ids: Uint16Array.from(text, (character) => places.get(character)), V: characters.length };
}

// The mean loss of knowing only how frequent each token is.
function unigramLoss(ids, V) {
  const counts = new Float64Array(V);
  for (const id of ids) counts[id]++;
  return counts.reduce((sum, n) => (n ? sum - (n / ids.length) * Math.log(n / ids.length) : sum), 0);
}

function buildLive(root) {
  const view = liveView;
  view.root = root;
  const { ids, V } = liveText();
  Object.assign(view, { ids, V, unigram: unigramLoss(ids, V) });
  view.start = el("button", { type: "button", "aria-pressed": "false", onclick: toggleLive }, "▶ Start");
  view.again = el("button", { type: "button", onclick: resetLive, disabled: true }, "Start again");
  view.state = el("output", { class: "small", "aria-live": "off" }, "not started");
  view.told = el("p", { class: "soft small" });
  view.plot = el("div", { class: "live-plot" });
  view.columns = el("div", { class: "live-columns" });
  const { L, C, T, H } = LIVE.shape;
  root.append(
    el("h2", {}, "Train it here ", el("span", { class: "badge" }, "live")),
    el(
      "p",
      { class: "soft" },
      "Everything else on this page was measured before. Here your own machine trains two stacks, now: ",
      `${L} layers each, which start with the same weights and get the same batches; the skip is what differs. They `,
      `learn the source code of this page, ${ids.length.toLocaleString("en")} characters.`,
    ),
    el("div", { class: "controls" }, view.start, view.again, view.state),
    el("div", { class: "live" }, view.plot, view.columns),
    pictureTools("live", livePicture),
    view.told,
    el(
      "p",
      { class: "soft small" },
      `${L} layers, width ${C}, ${H} heads, sequences of ${T} tokens, ${LIVE.options.sequences} a batch; AdamW at `,
      `${LIVE.options.rate} after ${LIVE.options.warmup} updates. Plain JavaScript in two workers, whose losses, `,
      "gradients and weights a test compares with those of PyTorch on the same weights.",
    ),
    sectionLink("live"),
  );
  document.addEventListener("visibilitychange", () => document.hidden && stopLive());
}

function toggleLive() {
  if (liveView.running) return stopLive();
  if (liveView.step >= LIVE.last) resetLive();
  liveView.running = true;
  liveView.start.setAttribute("aria-pressed", "true");
  liveView.start.textContent = "❚❚ Pause";
  liveView.again.disabled = false;
  liveView.told.textContent = "";
  trainLive(liveView);
}

function stopLive() {
  const view = liveView;
  if (!view.running) return;
  view.running = false;
  view.start.setAttribute("aria-pressed", "false");
  view.start.textContent = "▶ Go on";
}

function resetLive() {
  stopLive();
  for (const arm of liveView.arms) arm.worker.terminate();
  Object.assign(liveView, { step: 0, arms: [] });
  liveView.again.disabled = true;
  liveView.start.textContent = "▶ Start";
  liveView.told.textContent = "";
  drawLive();
}

function startArm(arm) {
  const source = document.getElementById("worker").textContent;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url);
  const shape = { ...LIVE.shape, V: liveView.V, skip: arm.skip };
  worker.postMessage({ shape, ids: liveView.ids, options: LIVE.options, updates: 0 });
  return { ...arm, worker, losses: [], points: [], reach: null };
}

// The answer of an arm to `updates` more of them.
const ask = (arm, updates) =>
  new Promise((resolve, reject) => {
    arm.worker.onmessage = ({ data }) => (data.reach ? resolve(data) : undefined);
    arm.worker.onerror = reject;
    arm.worker.postMessage({ updates });
  });

function tellLive(view) {
  const losses = view.arms.map(
    (arm) => `${arm.name} ${shown(arm.points.at(-1) ?? arm.losses.at(-1) ?? null)}`,
  );
  view.told.textContent = `Stopped after ${view.step} updates; loss ${losses.join(", ")}.`;
  announce(view.told.textContent);
}

// Both arms, a few updates at a time, until somebody stops them.
async function trainLive(view) {
  try {
    if (!view.arms.length) view.arms = LIVE_ARMS.map(startArm);
    const { arms } = view;
    while (view.running && view.arms === arms) {
      const began = performance.now();
      const answers = await Promise.all(arms.map((arm) => ask(arm, LIVE.updates)));
      if (view.arms !== arms) return; // started again meanwhile
      for (const [k, answer] of answers.entries()) keepAnswer(arms[k], answer);
      view.step += LIVE.updates;
      view.rate = (1000 * LIVE.updates) / (performance.now() - began);
      drawLive();
      if (view.step >= LIVE.last) stopLive();
    }
    if (view.arms === arms) tellLive(view);
  } catch (error) {
    stopLive();
    view.told.textContent = `This browser can't train it: ${error.message ?? "its worker failed"}.`;
  }
}

function keepAnswer(arm, { losses, reach }) {
  arm.reach = reach;
  arm.losses.push(...losses);
  if (arm.losses.length >= LIVE.point) {
    arm.points.push(arm.losses.reduce((a, b) => a + b) / arm.losses.length);
    arm.losses = [];
  }
}

function drawLive() {
  const view = liveView;
  view.state.textContent = view.step
    ? `${view.step} updates, ${shown(view.rate, 2)} a second`
    : "not started";
  const arms = view.arms.length ? view.arms : LIVE_ARMS.map((arm) => ({ ...arm, points: [], losses: [] }));
  view.root.classList.toggle("idle", !view.arms.length);
  view.plot.replaceChildren(livePlot(arms));
  const scale = liveScale(arms);
  view.columns.replaceChildren(
    ...arms.map((arm) =>
      gradientColumn(arm.reach ?? [], scale, {
        title: arm.name,
        top: "head",
        foot: arm.reach ? `layer 0: ${shown(arm.reach[0])}` : "layer 0",
        label: `${arm.name}: gradient at the stream`,
      }),
    ),
  );
}

const liveScale = (arms) =>
  commonScale(
    arms.map((arm) => arm.reach ?? []),
    "log",
  );

// What the reader's machine has trained, as a picture: the gradient of both arms, and their losses.
function livePicture() {
  const { step, arms, plot } = liveView;
  const columns = LIVE_ARMS.map(({ name, equation }, k) => {
    const reach = arms[k]?.reach ?? null;
    return { name, values: reach ?? [null], head: equation, note: shown(reach?.[0] ?? null) };
  });
  const { L, C, T } = LIVE.shape;
  const origin = `Trained live in a browser: ${L} layers, width ${C}, sequences of ${T} tokens, AdamW at ${LIVE.options.rate}.`;
  const title = `The same ${L} layers with and without skips, after ${step} updates`;
  const label = "gradient at the stream, ‖dL/dh‖";
  const beside = plot.querySelector("svg");
  return columnsPicture({ title, columns, scale: liveScale(arms), label, origin, beside });
}

// Loss over updates as one drawing: a line for each arm, the unigram baseline dotted between them.
function livePlot(arms) {
  const { V, unigram, step } = liveView;
  const [width, height, left, low] = [560, 300, 44, 262];
  const most = 100 * Math.max(1, Math.ceil(step / 100));
  const values = arms.flatMap((arm) => arm.points);
  const top = Math.max(Math.log(V), ...values) + 0.1;
  const bottom = Math.min(unigram - 0.8, ...values) - 0.1;
  const x = (updates) => left + ((width - left - 10) * updates) / most;
  const y = (loss) => low - ((low - 12) * (loss - bottom)) / (top - bottom);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "drawing" });
  const said = arms.map((arm) => `${arm.name} ${shown(arm.points.at(-1) ?? null)}`).join(", ");
  drawing.setAttribute("aria-label", `Loss over updates, now at ${step}: ${said}; unigram ${shown(unigram)}`);
  for (let loss = Math.ceil(bottom * 2) / 2; loss < top; loss += 0.5) {
    drawing.append(
      svg("path", { d: `M${left} ${y(loss)} H${width - 10}`, stroke: css("--rule") }),
      svg("text", { x: left - 6, y: y(loss) + 5, class: "tick end" }, loss.toFixed(1)),
    );
  }
  drawing.append(
    svg("path", {
      d: `M${left} ${y(unigram)} H${width - 10}`,
      stroke: css("--soft"),
      "stroke-dasharray": "2 4",
    }),
    svg("text", { x: width - 12, y: y(unigram) - 5, class: "tick end" }, `unigram ${unigram.toFixed(2)}`),
    svg("text", { x: x(most), y: low + 18, class: "tick end" }, String(most)),
    svg("text", { x: left, y: low + 18, class: "tick" }, "0"),
    svg(
      "text",
      { x: (left + width) / 2, y: low + 34, class: "tick middle" },
      "updates; loss in nats per token",
    ),
  );
  arms.forEach((arm, k) => {
    const colour = page.data.colours?.[k] ?? css("--ink");
    const points = arm.points.map((loss, at) => `${x((at + 0.5) * LIVE.point)},${y(loss)}`);
    drawing.append(
      svg("polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 3 }),
      svg("path", { d: `M${left + 8 + 170 * k} 16 h22`, stroke: colour, "stroke-width": 4 }),
      svg("text", { x: left + 36 + 170 * k, y: 21, class: "tick" }, arm.name),
    );
  });
  return drawing;
}

page.sections.push({ id: "live", build: buildLive, draw: drawLive });
