"""What all pages share: no network, no script, light and dark, on a phone and on paper."""

from collections.abc import Iterable
from html import escape
from importlib.metadata import version
from pathlib import Path

from attnseg.files import write_text
from attnseg.visualization.palette import Colour
from attnseg.whereabouts import told

_STYLE = """
:root { color-scheme: light dark;
  --page: #ffffff; --card: #f6f8fa; --line: #d0d7de; --text: #1f2328; --muted: #59636e;
  --fatal: #b3261e; --fixable: #8a5a00; --warning: #8a2f7d; --harmless: #2f5d8a; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0d1117; --card: #161b22; --line: #30363d; --text: #e6edf3; --muted: #9198a1;
  --fatal: #ff8a80; --fixable: #f0b849; --warning: #e39ad8; --harmless: #86b7e8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .75rem; }
p { margin: .25rem 0; }
.muted, footer { color: var(--muted); }
.data, td, figcaption, li { overflow-wrap: anywhere; }
.case { overflow-wrap: break-word; max-width: 16rem; font-weight: 600; }
.counts { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0 0; padding: 0; }
.counts li { list-style: none; min-width: 7rem; padding: .6rem .9rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .5rem; }
.counts b { display: block; font-size: 1.5rem; line-height: 1.2; }
.understood { margin: 0; padding: 0; list-style: none; font-size: .95rem; }
table { width: 100%; margin: 0 0 1.25rem; border-collapse: collapse; font-size: .95rem; }
th { text-align: left; font-weight: 600; color: var(--muted); }
th, td { padding: .5rem .75rem .5rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
.severity { font-weight: 600; } .severity, .number { white-space: nowrap; }
.fatal { color: var(--fatal); } .fixable { color: var(--fixable); }
.warning { color: var(--warning); }
.harmless { color: var(--harmless); }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
figure { margin: 0; padding: .75rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; }
figure img { display: block; margin: 0 auto .5rem; border-radius: .25rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .9rem; }
figcaption ul { margin: .25rem 0 0; padding-left: 1.1rem; }
svg text { fill: var(--muted); font: 11px system-ui, sans-serif; }
svg .axis { stroke: var(--line); } svg .median { stroke: var(--text); stroke-dasharray: 3 2; }
.key { display: inline-block; width: .8em; height: .8em; margin-right: .4em;
  border-radius: .15em; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 0 0 .75rem; padding: 0;
  list-style: none; font-size: .9rem; }
.scroll { overflow-x: auto; margin: 0 0 1rem; }
.scroll td:first-child { min-width: 8rem; overflow-wrap: normal; }
.small { grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; text-align: center;
  font-size: .85rem; }
.plot { max-width: 34rem; } svg .middle { stroke: var(--text); stroke-width: 2.5; }
.facts td:first-child { width: 12rem; min-width: 6.5rem; overflow-wrap: break-word; }
summary { cursor: pointer; color: var(--muted); margin: 0 0 .75rem; }
footer { margin-top: 3rem; font-size: .85rem; }
@media print { html, body { font-size: 12px; } figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .key { print-color-adjust: exact; } .scroll { overflow: visible; }
  main { max-width: none; padding: 0; } }
@media (max-width: 40rem) {
  main { padding: 1.25rem 1rem 2rem; }
  .findings thead { display: none; }
  .findings tr { display: block; padding: .6rem 0; border-bottom: 1px solid var(--line); }
  .findings td { display: block; padding: 0; border: 0; }
  .counts li { min-width: 0; flex: 1 1 40%; } }
"""


def html_page(title: str, body: str) -> str:
    """A whole page.

    Args:
        title: of the window, as plain text.
        body: HTML.
    """
    footer = f"<footer>attnseg {escape(version('attnseg'))}</footer>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{body}{footer}</main></body></html>\n"
    )


def save_page(path: Path, html: str, places: Iterable[Path] = ()) -> None:
    """Write a page, whole or not at all: a page is made to be sent, so that it names no folder of
    the machine but those below and beside it.

    Args:
        path: of the page.
        html: of the page.
        places: files and folders that it may name.
    """
    write_text(path, told(html, path.parent, places))


def section(title: str, content: str) -> str:
    """A part of the page under a heading (plain text); nothing where `content` is empty."""
    return f"\n<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def counts(items: Iterable[tuple[str, str]]) -> str:
    """The figures at the head of a page: (number, what it is), plain text."""
    cells = "".join(f"<li><b>{escape(big)}</b>{escape(what)}</li>" for big, what in items)
    return f'<ul class="counts">{cells}</ul>'


def legend(entries: Iterable[tuple[Colour, str]], *, more: str = "") -> str:
    """Colours and what they stand for, plain text.

    Args:
        entries: in the order shown.
        more: a last entry without a colour.
    """
    items = "".join(f"<li>{colour_key(colour)}{escape(name)}</li>" for colour, name in entries)
    last = f"<li>{escape(more)}</li>" if more else ""
    return f'<ul class="legend">{items}{last}</ul>'


def colour_key(colour: Colour) -> str:
    """A small square of a colour, for legends."""
    return f'<span class="key" style="background: {colour_code(colour)}"></span>'


def colour_code(colour: Colour) -> str:
    """As `#e69f00`."""
    if isinstance(colour, str):
        return colour
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)
