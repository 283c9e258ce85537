"""The pieces that pages are made of: one HTML document without outside resources, sections, tables."""

import html
from collections.abc import Sequence
from typing import Any

STYLE = """
:root { --ink: #1f2328; --soft: #656d76; --line: #e3e6ea; --accent: #0072B2; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 32px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 12px; padding-bottom: 6px;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 15px; margin: 0 0 8px; }
p { margin: 0 0 10px; }
.soft, figcaption { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 14px;
  margin-top: 24px; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; }
.card b { display: block; font-size: 18px; font-weight: 600; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
.card i { font-style: normal; font-size: 15px; font-weight: 400; color: var(--soft); }
.card span { display: block; color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.warning { background: #fff6e5; border-left: 4px solid #E69F00; border-radius: 4px;
  padding: 10px 16px; margin-top: 14px; }
.note { background: #f3f7fb; border-left: 4px solid var(--accent); border-radius: 4px;
  padding: 10px 16px; margin-top: 14px; }
.warning p, .note p { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; color: var(--soft); font-size: 13px; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures { display: grid; grid-template-columns: 1fr 1fr; gap: 34px 28px;
  grid-auto-flow: dense; }
figure { margin: 0; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { font-size: 13px; margin-top: 6px; }
pre { background: #f6f8fa; border-radius: 6px; padding: 12px 16px; overflow-x: auto;
  margin: 0 0 12px; font: 13px/1.5 ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; color: var(--accent); margin-bottom: 8px; }
"""


def document(title: str, body: Sequence[str]) -> str:
    """A page of finished pieces of HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>jbg: {text(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def section(title: str, inner: str) -> str:
    """A heading and what stands under it."""
    return f"<h2>{text(title)}</h2>{inner}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numeric: set[int]) -> str:
    """A table of plain cells; the columns of figures are aligned to the right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        marks = (' class="n"' if i in numeric else "" for i in range(len(cells)))
        inner = (f"<{tag}{m}>{text(c)}</{tag}>" for m, c in zip(marks, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    return f"<table>{line('th', heads)}{''.join(line('td', row) for row in rows)}</table>"


def text(value: Any) -> str:
    """Any value as HTML text, escaped."""
    return html.escape(str(value))
