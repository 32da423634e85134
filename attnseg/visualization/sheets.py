"""A cohort on one sheet, and learning curves, as figures to keep or to print."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from attnseg.errors import DataError
from attnseg.visualization.curves import Curve, round_ticks, tick_texts
from attnseg.visualization.figures import (
    DPI,
    LINE_HEIGHT,
    MUTED,
    TEXT,
    TITLE_HEIGHT,
    Drawing,
    draw_legend,
    legend_entries,
    new_page,
    write,
)
from attnseg.visualization.layout import GAP, MARGIN, WIDTH, round_length
from attnseg.visualization.palette import label_colours
from attnseg.visualization.thumbnails import Thumbnail, labels_in, painted

_CAPTION = 17  # pixels a line of text under a slice
_CHARACTER = 6.3  # pixels, about
_SMALL = 8.0  # points
_BAR_SPACE = 220
_PLOT_HEIGHT = 300


@dataclass(frozen=True, eq=False)
class Tile:
    """One case of a sheet.

    Args:
        name: of the case.
        thumbnail: a slice of it with its labels.
        caption: a line below the name, as its Dice; may be empty.
    """

    name: str
    thumbnail: Thumbnail
    caption: str = ""


def contact_sheet(
    tiles: Sequence[Tile], *, names: Mapping[int, str], columns: int = 6, title: str = ""
) -> Drawing:
    """One slice a case, all at one scale, row by row.

    Args:
        tiles: at least one.
        names: names by label value; the colour of a label is its rank among all of them.
        columns: slices side by side.
        title: above the slices.

    Returns:
        A figure 1100 pixels wide.

    Raises:
        DataError: no tile.
    """
    if not tiles:
        raise DataError("a contact sheet needs a case; there is no mask that can be shown")
    columns = min(columns, max(len(tiles), 3))  # a single slice need not fill the sheet
    cell = (WIDTH - 2 * MARGIN - GAP * (columns - 1)) / columns
    sizes = [tile.thumbnail.size_mm for tile in tiles]
    tallest, widest = max(high for high, _ in sizes), max(wide for _, wide in sizes)
    scale = min(cell / widest, 1.4 * cell / tallest)  # pixels per mm
    texts = 2 if any(tile.caption for tile in tiles) else 1
    row = tallest * scale + texts * _CAPTION + GAP
    values = sorted({value for tile in tiles for value in labels_in(tile.thumbnail)})
    colours = label_colours(values, names)
    free = WIDTH - 2 * MARGIN - _BAR_SPACE
    legend = legend_entries(colours, dict(names), with_reference=False, free=free)
    top = MARGIN + (TITLE_HEIGHT if title else 0)
    bottom = top + row * -(-len(tiles) // columns)
    figure, page = new_page(bottom + (1 + legend[-1][-1]) * LINE_HEIGHT + MARGIN / 2)
    if title:
        write(page, MARGIN, MARGIN / 2 + TITLE_HEIGHT / 2, title, fontsize=13, weight="bold")
    for number, tile in enumerate(tiles):
        middle = MARGIN + (number % columns) * (cell + GAP) + cell / 2
        above = top + (number // columns) * row
        high, wide = (side * scale for side in tile.thumbnail.size_mm)
        y = above + (tallest * scale - high) / 2
        page.imshow(
            painted(tile.thumbnail, colours),
            extent=(middle - wide / 2, middle + wide / 2, y + high, y),
            interpolation="bilinear",
            aspect="auto",
        )
        below = above + tallest * scale + _CAPTION / 2 + 2
        most = max(6, int(cell / _CHARACTER))
        style = {"ha": "center", "fontsize": _SMALL}
        write(page, middle, below, _end_of(tile.name, most), **style)
        write(page, middle, below + _CAPTION - 2, tile.caption, color=MUTED, **style)
    # Showing a picture moves the limits of the page.
    page.set(xlim=(0, WIDTH), ylim=(figure.get_figheight() * DPI, 0))
    draw_legend(page, legend, bottom)
    unit = "mm" if tiles[0].thumbnail.plane else "px"
    length = round_length(_BAR_SPACE / 2 / scale)
    right, y = WIDTH - MARGIN, bottom + LINE_HEIGHT / 2
    bar = Line2D((right - length * scale, right), (y, y), color=TEXT, lw=2.5)
    bar.set_solid_capstyle("butt")
    page.add_line(bar)
    write(page, right - length * scale - 8, y, f"{length:g} {unit}", ha="right")
    return figure


def learning_curves_figure(plots: Mapping[str, Sequence[Curve]], *, title: str = "") -> Drawing:
    """Quantities over the steps of training, side by side.

    Args:
        plots: name of the quantity → its lines; at least one with a line.
        title: above the plots.

    Returns:
        A figure 1100 pixels wide.

    Raises:
        DataError: no line.
    """
    shown = {name: curves for name, curves in plots.items() if any(c.points for c in curves)}
    if not shown:
        raise DataError("learning curves need an epoch; none was finished yet")
    names = list(dict.fromkeys(curve.name for curves in shown.values() for curve in curves))
    colour_of = {curve.name: curve.colour for curves in shown.values() for curve in curves}
    top = MARGIN + (TITLE_HEIGHT if title else 0) + LINE_HEIGHT
    height = top + _PLOT_HEIGHT + 50
    figure, page = new_page(height)
    if title:
        write(page, MARGIN, MARGIN / 2 + TITLE_HEIGHT / 2, title, fontsize=13, weight="bold")
    gap, left = 50, MARGIN + 40
    width = (WIDTH - left - MARGIN - gap * (len(shown) - 1)) / len(shown)
    for number, (what, curves) in enumerate(shown.items()):
        x = left + number * (width + gap)
        box = (x / WIDTH, 50 / height, width / WIDTH, _PLOT_HEIGHT / height)
        axes = figure.add_axes(box, facecolor="none")
        values = [value for curve in curves for _, value in curve.points]
        ticks = round_ticks(min(values), max(values))
        texts, power = tick_texts(ticks)
        told = f"{what} (× {power})" if power else what
        write(page, x, top - LINE_HEIGHT / 2, told, color=MUTED)
        for curve in curves:
            if curve.points:
                axes.plot(
                    *zip(*curve.points, strict=True),
                    color=curve.colour,
                    lw=1.4,
                    marker="o",
                    ms=3,
                    clip_on=False,
                )
        axes.tick_params(colors=MUTED, labelsize=_SMALL)
        axes.set_yticks(ticks, texts)
        axes.set_ylim(ticks[0], ticks[-1])
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(color=MUTED, alpha=0.25, lw=0.6)
        axes.spines[:].set_visible(False)
    write(page, WIDTH - MARGIN, height - 12, "steps", ha="right", color=MUTED, fontsize=_SMALL)
    if len(names) > 1:
        by_rank = {rank: colour_of[name] for rank, name in enumerate(names)}
        entries = legend_entries(
            dict(by_rank), dict(enumerate(names)), with_reference=False, free=WIDTH - 200
        )
        draw_legend(page, entries, height - LINE_HEIGHT)
    return figure


def _end_of(name: str, most: int) -> str:
    """Names of a cohort differ at their end."""
    return name if len(name) <= most else "…" + name[-(most - 1) :]
