"""A scan and its masks as one page that turns, drawn by Niivue; nothing is fetched when it opens.

The page holds Niivue's own script (visualization/niivue/), the volumes as base64 of gzipped NIfTI,
and what it tells of them as JSON. view_page.html, .css and .js are its parts.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

import numpy as np

from attnseg.datasets.convert import fitting_type
from attnseg.errors import DataError
from attnseg.evaluation.metrics import Counts, label_values, overlap_counts
from attnseg.images import Geometry, Image, is_picture, smallest_integer_type, write_volumes
from attnseg.visualization.page import colour_code
from attnseg.visualization.palette import label_colours
from attnseg.visualization.slices import display_planes, window_of

NIIVUE_VERSION = "0.69.0"  # as in the Makefile
# Okabe and Ito's green, orange, blue and purple: told apart with any colour vision.
_DIFFERENCE = (
    ("both", "#009E73"),
    ("only first", "#E69F00"),
    ("only second", "#56B4E9"),
    ("another label", "#CC79A7"),
)
_RGB = np.dtype([("R", np.uint8), ("G", np.uint8), ("B", np.uint8)])  # NIfTI's RGB24
_ALPHA_STEPS = 255  # α is stored in 8 bits: at most 0.002 off


def view_page(
    scan: Image,
    labels: Image | None = None,
    *,
    names: Mapping[int, str] | None = None,
    attention: Image | None = None,
    compare: Image | None = None,
) -> str:
    """The page as HTML.

    The scan is stored in the smallest of int16, uint16, int32 and float32 that holds it exactly,
    values that are not finite as 0, a colour picture as RGB; masks by the ranks of their labels;
    α in 8 bits.

    Args:
        scan: `[C, I, J, K]`; one channel is shown at a time, of a colour picture all.
        labels: mask `[1, I, J, K]`.
        names: label value → name; others are called "label N".
        attention: α `[gates, I, J, K]`, 0 to 1.
        compare: a second mask, compared with `labels`, which must then be there.

    Raises:
        DataError: a grid that is not the scan's; α outside 0 to 1.
    """
    for each, what in ((labels, "mask"), (attention, "attention map"), (compare, "mask")):
        if each is not None:
            _refuse_other_grid(each, scan, what)
    masks = [image.array[0] for image in (labels, compare) if image is not None]
    values = sorted(set().union(*(label_values(mask) for mask in masks)))
    names_shown = dict.fromkeys(each.name for each in (scan, labels, compare) if each is not None)
    facts = {
        **_scan_facts(scan, masks),
        "masks": [labels.name if labels else "", compare.name if compare else ""],
        "labels": _label_facts(scan, masks, values, names or {}),
        "difference": [{"name": name, "colour": colour} for name, colour in _DIFFERENCE],
        "gates": attention.array.shape[0] if attention else 0,
    }
    volumes = {"scan": _packed_scan(scan)}
    rank_type = smallest_integer_type((0, len(values)))
    for key, mask in zip(("mask", "compare"), masks, strict=False):
        volumes[key] = _packed(scan.geometry, [ranks(mask, values)], rank_type)
    if compare is not None:
        volumes["difference"] = _packed(scan.geometry, [np.zeros_like(masks[0])], np.dtype("u1"))
    if attention is not None:
        volumes["attention"] = _packed_attention(attention)
    return _filled(" · ".join(names_shown), facts, volumes)


def ranks(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Label values → 0 for the background and n for the n-th of `values`, which rise."""
    lookup = np.array(sorted({0, *values}))
    rank = np.array([0 if value == 0 else 1 + list(values).index(value) for value in lookup])
    return rank[np.searchsorted(lookup, labels)]


def _filled(title: str, facts: Mapping[str, object], volumes: Mapping[str, bytes]) -> str:
    folder = files("attnseg.visualization")
    part = {
        name: (folder / name).read_text(encoding="utf-8")
        for name in ("view_page.html", "view_page.css", "view_page.js")
    }
    niivue = (folder / "niivue" / "niivue.umd.js").read_text(encoding="utf-8")
    licences = (folder / "niivue" / "LICENSES.txt").read_text(encoding="utf-8")
    return Template(part["view_page.html"]).substitute(
        title=escape(title),
        version=escape(version("attnseg")),
        niivue_version=NIIVUE_VERSION,
        style=part["view_page.css"],
        licence=f"/*\n{licences}*/",
        niivue=niivue.replace("</script", "<\\/script"),
        volumes="\n".join(
            f'<script type="text/plain" id="{key}">{base64.b64encode(content).decode()}</script>'
            for key, content in volumes.items()
        ),
        facts=json.dumps(facts).replace("<", "\\u003c"),
        script=part["view_page.js"],
    )


def _scan_facts(scan: Image, masks: Sequence[np.ndarray]) -> dict[str, object]:
    """What the page says of the scan: its windows, its grid, and where to look first."""
    geometry = scan.geometry
    colour = _is_colour(scan)
    windows = [] if colour else [window_of(channel) for channel in scan.array]
    focus = [n // 2 for n in geometry.shape]
    labels = masks[0] if masks else np.zeros(geometry.shape, dtype=np.uint8)
    for plane in display_planes(scan, labels):
        focus[plane.across] = plane.index
    return {
        "picture": _of_picture(scan),
        "colour": colour,
        "ct": any(low <= -160 and high == 240 for low, high in windows),
        "windows": windows,
        "shape": geometry.shape,
        "to_voxel": np.linalg.inv(geometry.affine)[:3].tolist(),
        "focus": (geometry.affine @ [*focus, 1])[:3].tolist(),
    }


def _label_facts(
    scan: Image, masks: Sequence[np.ndarray], values: Sequence[int], names: Mapping[int, str]
) -> list[dict[str, object]]:
    """A line for each label: colour, size in each mask, and how far two masks agree."""
    if not masks:
        return []
    colours = label_colours(values, names)
    counts = overlap_counts(masks[0], masks[-1], values)
    millilitres = None if _of_picture(scan) else scan.geometry.voxel_volume_mm3 / 1000
    return [
        {
            "value": value,
            "name": names.get(value, f"label {value}"),
            "colour": colour_code(colours[value]),
            "sizes": [_size(n, millilitres) for n in counts[value][1 : 1 + len(masks)]],
            "dice": "–" if math.isnan(counts[value].dice) else f"{counts[value].dice:.3f}",
            "counts": _in_words(counts[value]),
        }
        for value in values
    ]


def _in_words(count: Counts) -> str:
    first, second = count.predicted - count.both, count.reference - count.both
    return f"voxels: {count.both:,} both, {first:,} only first, {second:,} only second"


def _size(voxels: int, millilitres: float | None) -> str:
    """ml with three digits, or the number of pixels."""
    if millilitres is None:
        return f"{voxels:,}"
    volume = voxels * millilitres
    return f"{volume:,.0f}" if volume >= 1000 else f"{volume:.3g}"


def _refuse_other_grid(image: Image, scan: Image, what: str) -> None:
    ours, theirs = image.geometry, scan.geometry
    if ours.matches(theirs):
        return
    if ours.shape != theirs.shape:
        differs = f"shape {ours.shape}, and the scan {scan.name} has {theirs.shape}"
    else:
        differs = (
            f"shape {ours.shape} as the scan {scan.name}, but lies up to "
            f"{ours.distance_mm(theirs):.3g} mm off it"
        )
    raise DataError(
        f"{image.path or image.name}: {differs}; give the {what} of this scan, or resample it "
        "onto the scan's grid"
    )


def _of_picture(scan: Image) -> bool:
    return isinstance(scan.path, Path) and is_picture(scan.path)


def _is_colour(scan: Image) -> bool:
    return _of_picture(scan) and scan.array.shape[0] == 3


def _packed_scan(scan: Image) -> bytes:
    if _is_colour(scan):
        pixels = np.ascontiguousarray(np.moveaxis(scan.array, 0, -1).astype(np.uint8))
        return _packed(scan.geometry, [pixels.view(_RGB)[..., 0]], _RGB)
    array = np.nan_to_num(scan.array, nan=0.0, posinf=0.0, neginf=0.0)
    return _packed(scan.geometry, array, fitting_type(array))


def _packed_attention(attention: Image) -> bytes:
    alpha = attention.array
    low, high = float(alpha.min()), float(alpha.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise DataError(
            f"{attention.path or attention.name}: values from {low:g} to {high:g}; α lies between "
            "0 and 1: give the file of attention maps"
        )
    steps = np.rint(alpha.clip(0, 1) * _ALPHA_STEPS)
    return _packed(attention.geometry, steps, np.dtype(np.uint8), slope=1 / _ALPHA_STEPS)


def _packed(
    geometry: Geometry,
    volumes: Sequence[np.ndarray] | np.ndarray,
    dtype: np.dtype,
    *,
    slope: float = 1.0,
) -> bytes:
    """A gzipped NIfTI file of volumes `[I, J, K]`, with the affine as its sform."""
    like = Image(np.empty((0, *geometry.shape)), geometry)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii.gz"
        write_volumes(path, volumes, count=len(volumes), like=like, dtype=dtype, slope=slope)
        return path.read_bytes()
