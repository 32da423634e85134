"""A scan that turns in a notebook's cell, drawn by Niivue; the only file with ipyniivue."""

from collections.abc import Mapping
from dataclasses import replace
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from attnseg.errors import DataError, UsageError
from attnseg.evaluation.metrics import label_values
from attnseg.images import Image
from attnseg.spec import unnamed
from attnseg.visualization.packed import (
    is_colour,
    note_of_thinning,
    of_picture,
    packed_attention,
    packed_labels,
    packed_scan,
    refuse_other_grid,
    thinned,
)
from attnseg.visualization.page import colour_code
from attnseg.visualization.palette import Colour, label_colours, rgb_of
from attnseg.visualization.slices import display_planes, window_of

if TYPE_CHECKING:
    from ipywidgets import VBox

    from attnseg.inference import Segmentation

_OPACITY = 0.5  # of what lies over the scan


def show_volume(
    scan: "Image | Segmentation",
    labels: np.ndarray | Image | None = None,
    *,
    names: Mapping[int, str] | None = None,
    attention: np.ndarray | None = None,
) -> "VBox":
    """A scan in a notebook, with its labels and α over it.

    Click and scroll through the slices; the key V shows single planes and 3D in turn. Needs
    `pip install 'attnseg[notebooks]'`, and no network.

    Args:
        scan: its first channel is shown, of a colour picture all; thinned out where it is larger
            than browsers draw. Of a segmentation the labels and names are taken too where none are
            given.
        labels: `[I, J, K]` label values on the scan's grid, or a mask as read; 0 is background.
        names: label value → name; others are called "label N". The colour of a label is its rank
            among all of them, as in `overlay_figure`.
        attention: α of one gate, `[I, J, K]` in 0..1 on the scan's grid.

    Returns:
        A box of two widgets: ipyniivue's `NiiVue`, whose `volumes` are the scan, then labels and α
        where they are given (their `opacity` can be set), and the text below it.

    Raises:
        UsageError: ipyniivue is not installed.
        DataError: another grid; α outside 0 to 1.

    Example:
        >>> show_volume(predictor.predict("scan.nii.gz"))  # doctest: +SKIP
    """
    if find_spec("ipyniivue") is None:
        raise UsageError(
            "show_volume: ipyniivue is not installed; pip install 'attnseg[notebooks]'"
        )
    from ipyniivue import Volume
    from ipywidgets import VBox

    if not isinstance(scan, Image):
        labels = scan.labels if labels is None else labels
        names = scan.names if names is None else names
        scan = scan.image
    if not is_colour(scan):
        scan = replace(scan, array=scan.array[:1])
    low, high = (0.0, 255.0) if is_colour(scan) else window_of(scan.array)
    small, _ = thinned(scan)
    volumes = [
        Volume(
            name=f"{scan.name}.nii.gz",
            data=packed_scan(small),
            colormap="gray",
            cal_min=low,
            cal_max=high,
        )
    ]
    legend: list[tuple[Colour, str]] = []
    mask = replace(scan, array=np.zeros((1, *scan.geometry.shape), dtype=np.uint8))
    if labels is not None:
        mask = _on_grid(labels, scan, "mask")
        values = sorted(label_values(mask.array[0]))
        names = names or {}
        colours = label_colours(values, names)
        legend = [(colours[value], names.get(value, unnamed(value))) for value in values]
        volumes.append(
            Volume(
                name="labels.nii.gz",
                data=packed_labels(thinned(mask)[0], values),
                colormap_label=_colour_table(legend),
                cal_min=0.0,
                cal_max=255.0,
                opacity=_OPACITY,
            )
        )
    if attention is not None:
        alpha = _on_grid(attention, scan, "attention map")
        volumes.append(
            Volume(
                name="attention.nii.gz",
                data=packed_attention(thinned(alpha)[0]),
                colormap="inferno",
                cal_min=0.0,
                cal_max=1.0,
                opacity=_OPACITY,
            )
        )
    viewer = _viewer(picture=of_picture(scan))
    viewer.scene.crosshair_pos = _focus(scan, mask.array[0])
    viewer.load_volumes(volumes)
    return VBox([viewer, _text_below(viewer, legend, note_of_thinning(scan, small))])


def _viewer(*, picture: bool) -> Any:
    """Niivue set as on the page of `attnseg view`."""
    from ipyniivue import NiiVue, ShowRender, SliceType

    return NiiVue(
        height=400,
        slice_type=SliceType.AXIAL if picture else SliceType.MULTIPLANAR,
        multiplanar_show_render=ShowRender.NEVER,
        is_radiological_convention=True,
        sagittal_nose_left=True,
        is_nearest_interpolation=picture,
        is_orientation_text_visible=not picture,
        crosshair_color=(0.35, 0.75, 1.0, 0.8),
        crosshair_width=0.4,  # one pixel or more at the width of a cell
        crosshair_width_unit="percent",
        font_color=(0.9, 0.9, 0.9, 1.0),
        drag_and_drop_enabled=False,
        loading_text="",
        log_level="warn",
    )


def _focus(scan: Image, labels: np.ndarray) -> list[float]:
    """Where the slices with the largest labelled area meet: parts of the way right, front, up."""
    shape, place = scan.geometry.shape, [0.5, 0.5, 0.5]
    for plane in display_planes(scan, labels):
        place[plane.across] = (plane.index + 0.5) / shape[plane.across]
    return [place[axis] if sign > 0 else 1 - place[axis] for axis, sign in scan.geometry.ras_axes]


def _colour_table(legend: list[tuple[Colour, str]]) -> Any:
    """Colour and name by rank; the background is clear."""
    from ipyniivue import LUT

    # Niivue takes a table of a single colour for none at all.
    entries = legend or [("#000000", "")]
    shades = [round(255 * part) for colour, _ in entries for part in (*rgb_of(colour), 1.0)]
    return LUT(
        lut=[0, 0, 0, 0, *shades],
        min=0.0,
        max=float(len(entries)),
        labels=["background", *(name for _, name in entries)],
    )


def _text_below(viewer: Any, legend: list[tuple[Colour, str]], note: str) -> Any:
    """What the colours mean, a note, and what is under the crosshair, as Niivue words it."""
    from ipywidgets import HTML

    key = " ".join(
        f'<span style="white-space:nowrap;margin-right:1em">'
        f'<span style="color:{colour_code(colour)}">■</span> {escape(name)}</span>'
        for colour, name in legend
    )
    above = f"{key}<div>{escape(note)}</div>" if note else key
    text = HTML(above)

    def tell(place: dict[str, Any]) -> None:
        text.value = f"{above}<div>{escape(place['string'])}</div>"

    viewer.on_location_change(tell)
    return text


def _on_grid(given: np.ndarray | Image, scan: Image, what: str) -> Image:
    """Labels or α as an image on the scan's grid."""
    if isinstance(given, Image):
        refuse_other_grid(given, scan, what)
        return Image(given.array, scan.geometry)
    if given.shape != scan.geometry.shape:
        raise DataError(
            f"{what} of shape {given.shape}: the scan {scan.name} has {scan.geometry.shape}; give "
            "an array on its grid"
        )
    return Image(given[None], scan.geometry)
