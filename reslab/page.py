"""Figures and tables into one HTML file that needs nothing else: no server, no network."""

from html import escape
from pathlib import Path

from plotly.offline import get_plotlyjs

from reslab.figures import AUTOPSY_FIGURES, FIGURES
from reslab.runlog import Run, write_atomically
from reslab.summary import COLUMNS, differences, row

STYLE = """
:root { color-scheme: light; --ink: #1d2433; --soft: #5d6779; --rule: #e1e5ec; --wash: #f6f8fb; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); }
body { margin: 2.5rem auto; max-width: 1180px; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .4rem; }
p { max-width: 70ch; } .soft { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--rule); }
th, td { text-align: right; white-space: nowrap; }
th { background: var(--wash); font-weight: 600; } th[title] { cursor: help; }
td:first-child, th:first-child, td:nth-child(2), th:nth-child(2) { text-align: left; }
blockquote { margin: .3rem 0; padding: .4rem .9rem; background: var(--wash); }
blockquote { border-left: 3px solid var(--rule); }
"""
SCRIPT = """
for (const box of document.querySelectorAll("[data-figure]")) {
  const figure = JSON.parse(box.querySelector("script").textContent);
  Plotly.newPlot(box, figure.data, figure.layout, { responsive: true, displaylogo: false });
}
"""


def write_page(path: Path, runs: list[Run], title: str) -> None:
    """Write the page of some runs: verdicts, table, FIGURES, and the settings that differ."""
    parts = [f"<h1>{escape(title)}</h1>"]
    parts += [f"<p class=soft>{escape(_data_line(runs))}</p>"]
    for run in runs if len(runs) <= 8 else []:
        said = run.last("verdict") or "unfinished"
        parts.append(f"<blockquote><b>{escape(run.folder.name)}</b>: {escape(said)}</blockquote>")
    parts += ["<h2>Runs</h2>", _table([row(run) for run in runs], COLUMNS)]
    parts += _figures(FIGURES, runs)
    different = differences(runs)
    parts.append("<h2>What differs between these runs</h2>")
    parts.append(_table(different, {}) if different else "<p>No setting differs.</p>")
    commands = "".join(f"<li><code>{escape(run.facts['command'])}</code></li>" for run in runs)
    parts.append(f"<h2>Commands</h2><ul>{commands}</ul>")
    write_atomically(path, _html(title, parts))


def write_autopsy(path: Path, report: dict, title: str) -> None:
    """Write the page of one model's autopsy: AUTOPSY_FIGURES, and what its layers would say."""
    parts = [f"<h1>{escape(title)}</h1>", f"<p class=soft>{escape(report['verdict'])}</p>"]
    parts += _figures(AUTOPSY_FIGURES, report)
    parts += ["<h2>What each layer would say</h2>", f"<pre>{escape(report['lens_text'])}</pre>"]
    write_atomically(path, _html(title, parts))


def _figures(figures: dict, about) -> list[str]:
    """Heading, caption and picture of each figure that has something to show."""
    parts = []
    for name, draw in figures.items():
        figure = draw(about)
        if figure is not None:
            parts += [
                f"<h2>{escape(name)}</h2>",
                f"<p class=soft>{escape(_caption(draw))}</p>",
                _figure(figure),
            ]
    return parts


def _html(title: str, parts: list[str]) -> str:
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title>"
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body>{''.join(parts)}<script>{SCRIPT}</script></body></html>"
    )


def _data_line(runs: list[Run]) -> str:
    """What the runs were trained on."""
    known = dict.fromkeys(
        f"{r.facts['dataset']['source']} ({r.facts['dataset']['vocab_size']:,} tokens)" for r in runs
    )
    return f"Trained on {'; '.join(known)}. Losses in nats per token; lower is better."


def _caption(function) -> str:
    return " ".join(function.__doc__.split())


def _figure(figure) -> str:
    figure.update_layout(template="plotly_white", margin={"l": 60, "r": 20, "t": 70, "b": 50})
    content = figure.to_json().replace("</", "<\\/")  # a run's name can't close the script
    return f"<div data-figure><script type='application/json'>{content}</script></div>"


def _table(rows: list[dict[str, str]], meanings: dict[str, str]) -> str:
    """Rows as an HTML table; the column heads explain themselves when pointed at."""
    head = "".join(f"<th title='{escape(meanings.get(c, c), quote=True)}'>{escape(c)}</th>" for c in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(r[c])}</td>" for c in r) + "</tr>" for r in rows)
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"
