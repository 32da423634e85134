"""Plain rules on one case: what its image, its mask and their places in the world look like."""

from collections.abc import Mapping, Sequence

import numpy as np

from attnseg.datasets.findings import Finding, Mend
from attnseg.images import MAX_SHEAR_DEGREES, Geometry, Image, is_picture, on_grid
from attnseg.images.grids import places_nothing
from attnseg.preprocessing import channel_in_words
from attnseg.preprocessing.orientation import AxisOrder

# Headers store float32, which places the far corner of a body to about 1e-4 mm.
_ROUNDING_MM = 0.01
# Of the space that either grid takes up, the share that both must for one world to be plausible.
_SAME_WORLD = 0.5


def check_image(name: str, image: Image, channel_names: Sequence[str] = ()) -> list[Finding]:
    """Axes that are askew, and voxels that are no numbers, with the channel's file."""
    findings = []
    shear = image.geometry.shear_degrees
    if shear > MAX_SHEAR_DEGREES:
        problem = f"its axes are {shear:.1f}° off right angles, as of a tilted gantry"
        remedy = "resample image and label onto a straight grid"
        findings.append(Finding(name, "fixable", problem, remedy, "straighten"))
    for number, channel in enumerate(image.array):
        bad = channel.size - int(np.count_nonzero(np.isfinite(channel)))
        channel_named = channel_in_words(image, number, channel_names)
        problem = f"{channel_named} has {bad} voxel(s) that are NaN or infinite"
        if bad == channel.size:
            remedy = "check the export of this image"
            findings.append(Finding(name, "fatal", problem, remedy))
        elif bad:
            remedy = "replace them, for example by the background's value"
            findings.append(Finding(name, "fixable", problem, remedy, "fill"))
    return findings


def check_label(name: str, counts: Mapping[int, int], ignore_label: int | None) -> list[Finding]:
    """A mask without any label."""
    if any(value != 0 for value in counts):
        return []
    ignored = "" if ignore_label is None else f" or {ignore_label} (ignored)"
    remedy = "fine if nothing is to be found in this scan; otherwise draw its mask"
    return [Finding(name, "harmless", f"empty label: every voxel is 0{ignored}", remedy)]


def completed(labels: Image, image: Geometry) -> Image:
    """A mask that is a part of its image's grid on the whole of it, see `on_grid`; any other as it
    is, for `check_pair` to judge."""
    parts = sorted(labels.geometry.shape) != sorted(image.shape)
    return on_grid(labels, image) if parts else labels


def check_pair(name: str, image: Geometry, labels: Image) -> list[Finding]:
    """A mask that does not lie on its image's grid, and whether it can be brought there."""
    label = labels.geometry
    if image.matches(label):
        distance = image.distance_mm(label)
        if distance <= _ROUNDING_MM:
            return []
        problem = f"label lies up to {distance:.2g} mm off the image, less than a tenth of a voxel"
        return [Finding(name, "harmless", problem, "no harm done; the image's affine is used")]
    if _ras_grid(image).matches(_ras_grid(label)):
        problem = (
            f"label is stored as {label.orientation}, the image as {image.orientation}: the same "
            "grid with its axes in another order"
        )
        return [_fixable(name, problem, "bring its axes into the image's order", "reorient")]
    if image.shape != label.shape:
        problem = f"label has shape {label.shape}, the image {image.shape}"
        remedy = "find the mask that was drawn on this image"
        volume = labels.path is None or not is_picture(labels.path)
        if volume and on_grid(labels, image, asked=True) is not labels:
            remedy += "; if this one was, `attnseg convert MASK OUT --like IMAGE` completes it"
        return [Finding(name, "fatal", problem, remedy)]
    problem = (
        f"label lies up to {image.distance_mm(label):.3g} mm off the image (their affines differ)"
    )
    if slip := header_slip(image, label):
        remedy = f"give the label the header of the image, for {slip}"
        return [_fixable(name, problem, remedy, "copy header")]
    same_spacing = np.allclose(image.spacing_mm, label.spacing_mm, rtol=0.01)
    if same_spacing and common_space(image, label) >= _SAME_WORLD and _inside(labels, image):
        return [_fixable(name, problem, "resample the label to the grid of the image", "resample")]
    problem += ", and in another place"
    return [Finding(name, "fatal", problem, "find the mask that was drawn on this image")]


def notes_of(image: Image | None, labels: Image | None) -> tuple[str, ...]:
    """What the readers had to settle, with the file it was."""
    return tuple(
        f"{what}: {note}"
        for what, each in (("image", image), ("label", labels))
        if each is not None
        for note in each.notes
    )


def header_slip(image: Geometry, label: Geometry) -> str:
    """Why the affine of a mask of the image's shape is a slip; empty where it may be right.

    Three slips are known: an affine that places nothing, one whose x and y have the signs of LPS
    where they ought to have those of RAS, and one off by no more than the voxel that two
    conventions of a voxel's corner and centre differ by.
    """
    tolerance_mm = 0.1 * min(image.spacing_mm)
    one_mm = np.allclose(label.spacing_mm, 1) and not np.allclose(image.spacing_mm, 1)
    if places_nothing(label) and (one_mm or not places_nothing(image)):
        return "its own places nothing"
    mirrored = Geometry(image.shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)
    if label.matches(mirrored, tolerance_mm=tolerance_mm):
        return "the two differ in the signs of x and y alone, as LPS and RAS do"
    shift = np.linalg.solve(image.affine, label.affine[:, 3])[:3]
    moved = image.affine.copy()
    moved[:3, 3] = label.affine[:3, 3]
    same_axes = Geometry(image.shape, moved).matches(label, tolerance_mm=tolerance_mm)
    if same_axes and np.abs(shift).max() <= 1.001:
        return "the two differ by no more than a voxel, as conventions of its corner do"
    return ""


def common_space(one: Geometry, other: Geometry) -> float:
    """Of the space along x, y, z that either grid takes up, the share that both do; 0 to 1."""
    (low, high), (other_low, other_high) = _bounds_mm(one), _bounds_mm(other)
    sides = np.minimum(high, other_high) - np.maximum(low, other_low)
    both = float(np.prod(np.clip(sides, 0, None)))
    return both / float(np.prod(high - low) + np.prod(other_high - other_low) - both)


def _fixable(name: str, problem: str, remedy: str, mend: Mend) -> Finding:
    return Finding(name, "fixable", problem, remedy, mend)


def _ras_grid(geometry: Geometry) -> Geometry:
    return AxisOrder.of(geometry).grid(geometry)


def _bounds_mm(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x, y, z of the grid, half a voxel beyond the centres."""
    ends = [(-0.5, size - 0.5) for size in geometry.shape]
    corners = np.array(np.meshgrid(*ends, [1.0])).reshape(4, -1)
    places = (geometry.affine @ corners)[:3]
    return places.min(axis=1), places.max(axis=1)


def _inside(labels: Image, image: Geometry) -> bool:
    """Whether all that is labelled lies on the image's grid, or half a voxel beside it."""
    found = np.array(np.nonzero(labels.array[0]))
    if not found.size:
        return True
    low, high = found.min(axis=1), found.max(axis=1)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), [1])).reshape(4, -1)
    indices = np.linalg.solve(image.affine, labels.geometry.affine @ corners)[:3]
    limits = np.array(image.shape)[:, None] - 0.5
    return bool((indices >= -0.5 - 1e-3).all() and (indices <= limits + 1e-3).all())
