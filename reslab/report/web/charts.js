// Charts: plotly in the page's colours, and the buttons under every figure, which copy or save it.

function save(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// The buttons under a figure. makers: svg() and png() give a text and a data address, csv() a table; each only
// where the figure has it.
function figureTools(name, { svg: drawing, png, csv: table }) {
  const told = el("span", { class: "soft" });
  const button = (label, what, action) =>
    el("button", { type: "button", onclick: action, "aria-label": `${name} ${what}` }, label);
  const copy = async () => {
    try {
      const image = png().then(bytesOf);
      await navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
      told.textContent = "copied";
    } catch {
      told.textContent = "this browser does not copy pictures; save it as PNG";
    }
    announce(told.textContent);
  };
  const buttons = [
    button("Copy", "to the clipboard", copy),
    button("PNG", "as PNG", async () => save(`${name}.png`, bytesOf(await png()))),
    button("SVG", "as SVG", async () => save(`${name}.svg`, await drawing(), "image/svg+xml")),
  ];
  if (table) buttons.push(button("CSV", "as CSV", () => save(`${name}.csv`, table(), "text/csv")));
  return el("div", { class: "tools" }, told, ...buttons);
}

// A data address in base64 as a file. The page may fetch nothing, not even this.
function bytesOf(address) {
  const [head, body] = address.split(",");
  const bytes = Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

// A chart with its buttons. draw(traces, layout) shows it in the page's colours; table(traces) is its CSV, and
// title() the line that a saved picture has under it.
function chart(name, table = csv, title = () => page.data.title) {
  const plot = el("div", { class: "plot" });
  const tools = figureTools(name, {
    svg: async () => decodeURIComponent((await plotImage(plot, "svg", title())).split(/,(.*)/s)[1]),
    png: () => plotImage(plot, "png", title()),
    csv: () => table(plot.data),
  });
  const root = el(
    "figure",
    { class: "chart", "data-chart": name, "aria-label": name.replaceAll("-", " ") },
    plot,
    tools,
  );
  return { root, plot, draw: (traces, layout) => plotly(plot, traces, layout) };
}

// What plotly drew as a data address, 1200 wide, with a title under it.
function plotImage(plot, format, title) {
  const layout = structuredClone(plot.layout);
  const lines = wrapped(title, 150).split("<br>");
  const room = 34 + 19 * lines.length;
  const height = Math.round((1200 * plot.offsetHeight) / plot.offsetWidth) + room;
  const font = { size: 14 };
  layout.title = {
    text: lines.join("<br>"),
    x: 0.01,
    y: (room - 24) / height,
    xanchor: "left",
    yanchor: "top",
    font,
  };
  layout.margin.b = (layout.margin.b ?? 46) + room;
  return Plotly.toImage(
    { data: plot.data, layout },
    { format, width: 1200, height, scale: format === "png" ? 2 : 1 },
  );
}

function plotly(plot, traces, layout) {
  if (!window.Plotly || !plot.checkVisibility()) return; // not yet (see addCharts), or folded away
  const axis = {
    gridcolor: css("--rule"),
    linecolor: css("--rule"),
    zerolinecolor: css("--rule"),
    automargin: true,
  };
  const narrow = document.body.clientWidth < 600;
  const base = { l: narrow ? 46 : 62, r: narrow ? 12 : 24, t: 30, b: 46 };
  const full = {
    width: plot.clientWidth || undefined,
    paper_bgcolor: css("--paper"),
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, color: css("--ink"), size: narrow ? 11 : 13 },
    legend: { orientation: "h", yref: "container", y: 1, yanchor: "top", x: 0 },
    hoverlabel: { font: { family: getComputedStyle(document.body).fontFamily } },
    ...layout,
    margin: { ...base, ...layout.margin },
  };
  for (const key of new Set([
    "xaxis",
    "yaxis",
    ...Object.keys(layout).filter((k) => /^[xy]axis\d*$/.test(k)),
  ])) {
    full[key] = { ...axis, ...layout[key] };
  }
  Plotly.react(plot, traces, full, { displayModeBar: false });
}

// What a chart shows, as a table: one line per point.
const quote = (value) => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : (value ?? ""));

function csv(traces) {
  const lines = ["name,x,y,value"];
  for (const trace of traces) {
    const name = quote(trace.name ?? "");
    if (trace.z) {
      for (const [y, row] of (trace.customdata ?? trace.z).entries()) {
        for (const [x, value] of row.entries()) {
          lines.push([name, quote(trace.x?.[x] ?? x), quote(trace.y?.[y] ?? y), value].join());
        }
      }
    } else {
      for (const [k, y] of (trace.y ?? []).entries())
        lines.push([name, quote(trace.x?.[k] ?? k), y, ""].join());
    }
  }
  return `${lines.join("\n")}\n`;
}

// The numbers behind a chart as `--curves` of compare.py names them: of each run that is shown, as they were
// measured, not smoothed and without bands. Kinds: loss, loss_se, grad_norm.
function tidy(wanted) {
  const kinds = { loss: "loss", se: "loss_se", norm: "grad_norm" };
  const lines = ["run,group,seed,split,kind,step,value"];
  for (const run of shownRuns()) {
    const head = [run.name, run.group_label, run.config.seed].map(quote);
    for (const [split, parts] of Object.entries(wanted)) {
      const curve = run.curves[split];
      for (const [k, step] of curve.step.entries()) {
        for (const part of parts) {
          const value = curve[part]?.[k] ?? null;
          if (value !== null) lines.push([...head, split, kinds[part], step, value].join());
        }
      }
    }
  }
  return `${lines.join("\n")}\n`;
}
