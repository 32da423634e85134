"""A scan and its masks as one page that turns, drawn by Niivue; nothing is fetched when it opens.

The page holds Niivue's own script (visualization/niivue/), the volumes as base64 of gzipped NIfTI,
and what it tells of them as JSON. view_page.html, .css and .js are its parts.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from importlib.metadata import version
from importlib.resources import files
from string import Template

import numpy as np

from attnseg.evaluation.metrics import Counts, label_values, overlap_counts
from attnseg.images import Image
from attnseg.spec import unnamed
from attnseg.visualization.packed import (
    is_colour,
    note_of_thinning,
    of_picture,
    packed,
    packed_attention,
    packed_labels,
    packed_scan,
    refuse_other_grid,
    thinned,
)
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
            refuse_other_grid(each, scan, what)
    drawn = [image for image in (labels, compare) if image is not None]
    masks = [image.array[0] for image in drawn]
    values = sorted(set().union(*(label_values(mask) for mask in masks)))
    names_shown = dict.fromkeys(each.name for each in (scan, labels, compare) if each is not None)
    small, steps = thinned(scan)
    facts = {
        **_scan_facts(scan, masks),
        **_grid_facts(scan, small, steps),
        "masks": [labels.name if labels else "", compare.name if compare else ""],
        "labels": _label_facts(scan, masks, values, names or {}),
        "difference": [{"name": name, "colour": colour} for name, colour in _DIFFERENCE],
        "gates": attention.array.shape[0] if attention else 0,
    }

    def fitted(image: Image) -> Image:
        return thinned(replace(image, geometry=scan.geometry))[0]

    volumes = {"scan": packed_scan(small)}
    for key, mask in zip(("mask", "compare"), drawn, strict=False):
        volumes[key] = packed_labels(fitted(mask), values)
    if compare is not None:
        nothing = np.zeros((1, *small.geometry.shape), dtype=np.uint8)
        volumes["difference"] = packed(small.geometry, nothing, np.dtype(np.uint8))
    if attention is not None:
        volumes["attention"] = packed_attention(fitted(attention))
    return _filled(" · ".join(names_shown), facts, volumes)


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
    """What the page says of the scan: its windows, and where to look first."""
    geometry = scan.geometry
    colour = is_colour(scan)
    windows = [] if colour else [window_of(channel) for channel in scan.array]
    focus = [n // 2 for n in geometry.shape]
    labels = masks[0] if masks else np.zeros(geometry.shape, dtype=np.uint8)
    for plane in display_planes(scan, labels):
        focus[plane.across] = plane.index
    return {
        "picture": of_picture(scan),
        "colour": colour,
        "ct": any(low <= -160 and high == 240 for low, high in windows),
        "windows": windows,
        "focus": (geometry.affine @ [*focus, 1])[:3].tolist(),
    }


def _grid_facts(scan: Image, small: Image, steps: Sequence[int]) -> dict[str, object]:
    """The grid that is shown, and what is told where it is not the scan's own."""
    told = note_of_thinning(scan, small)
    return {
        "shape": small.geometry.shape,
        "to_voxel": np.linalg.inv(small.geometry.affine)[:3].tolist(),
        "steps": steps,
        "thinned": told and f"{told} Sizes, Dice and the window are those of the whole.",
    }


def _label_facts(
    scan: Image, masks: Sequence[np.ndarray], values: Sequence[int], names: Mapping[int, str]
) -> list[dict[str, object]]:
    """A line for each label: colour, size in each mask, and how far two masks agree."""
    if not masks:
        return []
    colours = label_colours(values, names)
    counts = overlap_counts(masks[0], masks[-1], values)
    millilitres = None if of_picture(scan) else scan.geometry.voxel_volume_mm3 / 1000
    return [
        {
            "value": value,
            "name": names.get(value, unnamed(value)),
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
