"""A scan that turns in a notebook's cell, drawn by Niivue; the only file with ipyniivue."""

from collections.abc import Mapping
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from attnseg.errors import DataError, UsageError
from attnseg.evaluation.metrics import label_values
from attnseg.images import Image
from attnseg.visualization.packed import (
    MAX_AXIS,
    is_colour,
    of_picture,
    packed_attention,
    packed_labels,
    packed_scan,
    refuse_other_grid,
)
from attnseg.visualization.page import colour_code
from attnseg.visualization.palette import Colour, label_colours, rgb_of
from attnseg.visualization.slices import window_of

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
    """A scan in a notebook, with its labels and α over it: click, scroll and turn it.

    Needs `pip install 'attnseg[notebooks]'`; no network.

    Args:
        scan: its first channel is shown, of a colour picture all. Of a segmentation the labels and
            names are taken too where none are given.
        labels: `[I, J, K]` label values on the scan's grid, or a mask as read; 0 is background.
        names: label value → name; others are called "label N". The colour of a label is its rank
            among all of them, as in `overlay_figure`.
        attention: α of one gate, `[I, J, K]` in 0..1 on the scan's grid.

    Returns:
        A box of two widgets: ipyniivue's `NiiVue`, whose `volumes` are the scan, then labels and α
        where they are given (their `opacity` can be set), and the text below it.

    Raises:
        UsageError: ipyniivue is not installed.
        DataError: another grid; α outside 0 to 1; more voxels along an axis than browsers draw.

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
    _refuse_larger(scan)
    if not is_colour(scan):
        scan = Image(scan.array[:1], scan.geometry, path=scan.path)
    low, high = (0.0, 255.0) if is_colour(scan) else window_of(scan.array)
    volumes = [
        Volume(
            name=f"{scan.name}.nii.gz",
            data=packed_scan(scan),
            colormap="gray",
            cal_min=low,
            cal_max=high,
        )
    ]
    legend: list[tuple[Colour, str]] = []
    if labels is not None:
        mask = _on_grid(labels, scan, "mask")
        values = sorted(label_values(mask.array[0]))
        names = names or {}
        colours = label_colours(values, names)
        legend = [(colours[value], names.get(value, f"label {value}")) for value in values]
        volumes.append(
            Volume(
                name="labels.nii.gz",
                data=packed_labels(mask, values),
                colormap_label=_colour_table(legend),
                opacity=_OPACITY,
            )
        )
    if attention is not None:
        volumes.append(
            Volume(
                name="attention.nii.gz",
                data=packed_attention(_on_grid(attention, scan, "attention map")),
                colormap="inferno",
                cal_min=0.0,
                cal_max=1.0,
                opacity=_OPACITY,
            )
        )
    viewer = _viewer(picture=of_picture(scan))
    viewer.load_volumes(volumes)
    return VBox([viewer, _text_below(viewer, legend)])


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
        crosshair_width=0.25,
        crosshair_width_unit="percent",
        font_color=(0.9, 0.9, 0.9, 1.0),
        drag_and_drop_enabled=False,
        loading_text="",
        log_level="warn",
    )


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


def _text_below(viewer: Any, legend: list[tuple[Colour, str]]) -> Any:
    """What the colours mean, and what is under the crosshair, as Niivue words it."""
    from ipywidgets import HTML

    key = " ".join(
        f'<span style="white-space:nowrap;margin-right:1em">'
        f'<span style="color:{colour_code(colour)}">■</span> {escape(name)}</span>'
        for colour, name in legend
    )
    text = HTML(key)

    def tell(place: dict[str, Any]) -> None:
        text.value = f"{key}<div>{escape(place['string'])}</div>"

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


def _refuse_larger(scan: Image) -> None:
    longest = max(scan.geometry.shape)
    if longest > MAX_AXIS:
        raise DataError(
            f"{scan.name}: {longest} voxels along an axis, and browsers draw {MAX_AXIS}; give a "
            "part of it, or use `attnseg view`, which thins it out"
        )
