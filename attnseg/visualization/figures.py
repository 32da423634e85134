"""Pictures of a scan with its labels and its attention, and what other figures are made of.

Figures are made with matplotlib's objects, never pyplot: no display is needed, no global state is
touched, and a figure is freed with its last reference. Everything is placed in pixels from the
top left corner.
"""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath

from attnseg.errors import DataError
from attnseg.files import atomic_path
from attnseg.images import Image
from attnseg.names import readable
from attnseg.spec import unnamed
from attnseg.visualization.layout import GAP, MARGIN, WIDTH, Panel, flow, place_panels, round_length
from attnseg.visualization.palette import Colour, label_colours
from attnseg.visualization.slices import Plane, crop, display_planes, labelled_region, window_of

Entry = tuple[Colour | None, str, float, int]  # colour (None: dashes), text, left edge, line

DPI = 100
TITLE_HEIGHT = 32
_CAPTION_HEIGHT = 24
LINE_HEIGHT = 26
_SWATCH = 13
_DASH = 22
_SYMBOL_GAP = 7
_COLOUR_BAR_WIDTH = 180
_MAX_ENTRIES = 24
_MAX_CHARACTERS = 32
_TEXT_SIZE = 9.5  # points

_BACKGROUND = "#0d1117"
TEXT = "#e6edf3"
MUTED = "#8b949e"
_HEAT = "magma"  # perceptually uniform, and not to be taken for the grey of the scan
_SHADES = 128  # no step is visible, and PNG files are a quarter smaller than with 256
_DASHES = (0, (3, 2))
_SHADE = (0.0, 0.0, 0.0, 0.75)  # around white marks, which bone and fat would swallow
_HALO = [withStroke(linewidth=2.5, foreground=_SHADE)]
# A fixed-width I has serifs: without them "inferior" reads as a stroke in the anatomy.
_LETTER = {"family": "DejaVu Sans Mono", "weight": "bold", "path_effects": _HALO}


class Drawing(Figure):
    """A figure that draws itself in Jupyter, whatever matplotlib's back end there is."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png", dpi=DPI, facecolor=self.get_facecolor())
        return stream.getvalue()


def overlay_figure(
    image: Image,
    labels: np.ndarray,
    *,
    names: dict[int, str],
    attention: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    title: str = "",
) -> Drawing:
    """Axial, coronal and sagittal slice of a scan with its labels, in radiological convention.

    The slices are those with the largest labelled area; the view is the labelled region and its
    surroundings.

    Args:
        image: the scan; its first channel is shown.
        labels: `[I, J, K]` label values, 0 is background.
        names: names by label value. The colour of a label is its rank among all of them, so the
            same `names` give the same colours in every figure.
        attention: `[I, J, K]` in 0..1 on the scan's grid; adds a row of heat maps.
        reference: `[I, J, K]` label values; outlined in dashed white.
        title: above the slices.

    Returns:
        A figure 1100 pixels wide.
    """
    low, high = window_of(image.array[0])
    both = labels if reference is None else np.where(labels != 0, labels, reference)
    region = labelled_region(both, image.geometry.spacing_mm)
    planes = display_planes(crop(image, region), both[region])
    panels = place_panels(planes, both[region])
    scan, labels = image.array[0][region], labels[region]
    masks = [labels] if reference is None else [labels, reference[region]]
    values = {int(v) for plane in planes for mask in masks for v in np.unique(plane.cut(mask))}
    colours: dict[int, Colour] = label_colours(values - {0}, names)
    free = WIDTH - 2 * MARGIN - (0 if attention is None else _COLOUR_BAR_WIDTH + 4 * MARGIN)
    legend = legend_entries(colours, names, with_reference=reference is not None, free=free)

    top = MARGIN / 2 + (TITLE_HEIGHT if title else 0) + _CAPTION_HEIGHT
    second = top + panels[0].height + GAP
    bottom = second + (0 if attention is None else panels[0].height + GAP)
    figure, page = new_page(bottom + (1 + legend[-1][-1]) * LINE_HEIGHT + MARGIN / 2)
    if title:
        write(page, MARGIN, MARGIN / 2 + TITLE_HEIGHT / 2, title, fontsize=13, weight="bold")
    for panel in panels:
        plane = panel.plane
        write(page, panel.left, top - _CAPTION_HEIGHT / 2, plane.name, color=MUTED)
        axes = _show(figure, panel, top, scan, colour_map="gray", low=low, high=high)
        _outline(axes, plane, labels, colours=colours, fill=0.3)
        if reference is not None:
            _outline(axes, plane, masks[1], colours=dict.fromkeys(colours, "white"), dashed=True)
        _annotate(page, panel, top)
        if attention is not None:
            part = attention[region]
            axes = _show(figure, panel, second, part, colour_map=_HEAT, low=0.0, high=1.0)
            _outline(axes, plane, labels, colours=dict.fromkeys(colours, "white"))
    draw_legend(page, legend, bottom)
    if attention is not None:
        _draw_colour_bar(figure, page, bottom)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as `.png` or `.svg`, by the suffix of `path`, whole or not at all.

    Raises:
        DataError: another suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in {".png", ".svg"}:
        raise DataError(f"{path}: figures are written as .png or .svg; change the suffix")
    smallest: dict[str, Any] = (
        {"pil_kwargs": {"compress_level": 9}} if path.suffix.lower() == ".png" else {}
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor=_BACKGROUND, **smallest)


def figure_to_array(figure: Figure) -> np.ndarray:
    """The figure as `[H, W, 3]` uint8: red, green, blue."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def new_page(height: float) -> tuple[Drawing, Axes]:
    """A figure, and axes all over it with pixels as coordinates for everything but slices."""
    height = round(height)
    figure = Drawing(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1), zorder=1)
    page.set(xlim=(0, WIDTH), ylim=(height, 0))
    page.set_axis_off()
    return figure, page


def write(page: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Write text as it is, whatever name it holds; a dollar sign begins no formula."""
    defaults: dict[str, Any] = {"color": TEXT, "fontsize": _TEXT_SIZE, "va": "center_baseline"}
    page.text(x, y, readable(text), parse_math=False, **(defaults | style))


def _show(
    figure: Figure,
    panel: Panel,
    top: float,
    volume: np.ndarray,
    *,
    colour_map: str,
    low: float,
    high: float,
) -> Axes:
    """Show the panel's slice of the volume in millimetres, so that voxels have their true shape."""
    height = figure.get_figheight() * DPI
    left, bottom = panel.left / WIDTH, 1 - (top + panel.height) / height
    axes = figure.add_axes((left, bottom, panel.width / WIDTH, panel.height / height))
    axes.set_axis_off()
    high_mm, wide_mm = panel.plane.size_mm(volume)
    axes.imshow(
        panel.plane.cut(volume),
        cmap=mpl.colormaps[colour_map].resampled(_SHADES),
        vmin=low,
        vmax=high,
        extent=(0, wide_mm, high_mm, 0),
        interpolation="bilinear",
        aspect="auto",  # the panel has the shape of its view already
    )
    x, y = (wide_mm - panel.width_mm) / 2, (high_mm - panel.height_mm) / 2
    axes.set(xlim=(x, wide_mm - x), ylim=(high_mm - y, y))
    return axes


def _outline(
    axes: Axes,
    plane: Plane,
    labels: np.ndarray,
    *,
    colours: Mapping[int, Colour],
    fill: float = 0.0,
    dashed: bool = False,
) -> None:
    """Outline each label in its colour, and fill it with that opacity."""
    # A frame of background closes the outline of a label that touches the border.
    framed = np.pad(plane.cut(labels), 1)
    y, x = ((np.arange(n) - 0.5) * mm for n, mm in zip(framed.shape, plane.spacing_mm, strict=True))
    style = [_DASHES] if dashed else ["solid"]
    for value, colour in colours.items():
        mask = (framed == value).astype(np.float32)
        if not mask.any():
            continue
        if fill:
            axes.contourf(x, y, mask, levels=[0.5, 1.5], colors=[colour], alpha=fill)
        axes.contour(x, y, mask, levels=[0.5], colors=[colour], linewidths=1.3, linestyles=style)


def _annotate(page: Axes, panel: Panel, top: float) -> None:
    """Patient directions at the four edges and a scale bar in the lower right corner."""
    inset = 8
    right, bottom = panel.left + panel.width, top + panel.height
    middle_x, middle_y = panel.left + panel.width / 2, top + panel.height / 2
    letters = zip(
        panel.plane.letters,
        (panel.left + inset, right - inset, middle_x, middle_x),
        (middle_y, middle_y, top + inset, bottom - inset),
        ("left", "right", "center", "center"),
        ("center", "center", "top", "bottom"),
        strict=True,
    )
    for letter, x, y, ha, va in letters:
        write(page, x, y, letter, ha=ha, va=va, **_LETTER)
    length_mm = round_length(panel.width_mm / 4)
    length = length_mm * panel.width / panel.width_mm
    x, y = right - inset - 4, bottom - inset - 2
    bar = Line2D((x - length, x), (y, y), color=TEXT, lw=2.5, solid_capstyle="butt")
    bar.set_path_effects([withStroke(linewidth=5, foreground=_SHADE)])
    page.add_line(bar)
    text = f"{length_mm:g} {panel.plane.unit}"
    write(page, x - length / 2, y - 6, text, ha="center", va="bottom", path_effects=_HALO)


def png_of(pixels: np.ndarray) -> bytes:
    """`[rows, columns, 3]` in 0..1 as the bytes of a PNG file."""
    stream = BytesIO()
    imsave(stream, pixels, format="png")
    return stream.getvalue()


def legend_entries(
    colours: dict[int, Colour], names: dict[int, str], *, with_reference: bool, free: float
) -> list[Entry]:
    """Legend entries, in as many lines as `free` pixels of width ask for."""
    items: list[tuple[Colour | None, str]] = [
        (colour, names.get(value, unnamed(value))) for value, colour in colours.items()
    ]
    if len(items) > _MAX_ENTRIES:
        items[_MAX_ENTRIES:] = [(_BACKGROUND, f"and {len(items) - _MAX_ENTRIES} more")]
    if with_reference:
        items.append((None, "reference"))
    items = items or [(_BACKGROUND, "no label")]
    items = [(colour, _shorten(text)) for colour, text in items]
    widths = [_symbol_width(colour) + _text_width(text) + MARGIN for colour, text in items]
    places = flow(widths, free)
    return [(*item, *place) for item, place in zip(items, places, strict=True)]


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"


def _symbol_width(colour: Colour | None) -> float:
    return (_DASH if colour is None else _SWATCH) + _SYMBOL_GAP


def _text_width(text: str) -> float:
    path = TextPath((0, 0), text.replace("$", r"\$"), size=_TEXT_SIZE)
    return float(path.get_extents().width) * DPI / 72


def draw_legend(page: Axes, legend: list[Entry], top: float) -> None:
    for colour, text, left, line in legend:
        x, y = MARGIN + left, top + (line + 0.5) * LINE_HEIGHT
        if colour is None:
            dashes = Line2D((x, x + _DASH), (y, y), color="white", ls=_DASHES, lw=1.3)
            page.add_line(dashes)
        else:
            corner = (x, y - _SWATCH / 2)
            page.add_patch(Rectangle(corner, _SWATCH, _SWATCH, color=colour, lw=0))
        write(page, x + _symbol_width(colour), y, text)


def _draw_colour_bar(figure: Figure, page: Axes, top: float) -> None:
    """The scale of α from 0 to 1, at the right of the legend's first line."""
    height = figure.get_figheight() * DPI
    y = top + LINE_HEIGHT / 2
    right = WIDTH - MARGIN - 12
    left = right - _COLOUR_BAR_WIDTH
    box = (left / WIDTH, 1 - (y + 5) / height, _COLOUR_BAR_WIDTH / WIDTH, 10 / height)
    bar = figure.colorbar(
        ScalarMappable(cmap=_HEAT), cax=figure.add_axes(box), ticks=[], orientation="horizontal"
    )
    bar.outline.set_visible(False)
    write(page, left - 8, y, "0", ha="right")
    write(page, right + 6, y, "1")
    write(page, left - 24, y, "α", ha="right", fontsize=12)
