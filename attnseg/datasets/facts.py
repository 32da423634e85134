"""One pass over the files: what each case holds, kept small, and what is wrong with it alone."""

import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from attnseg.datasets.cases import Case, Dataset
from attnseg.datasets.findings import Finding
from attnseg.datasets.labels import WHITE, white_is_one
from attnseg.errors import DataError
from attnseg.images import Geometry, Image, read_case, read_labels, smallest_integer_type

FOREGROUND_SAMPLES = 1000
# Enough for steady percentiles, and a scan of 512 × 512 × 600 need not be sorted as a whole.
_STATISTICS_SAMPLES = 1_000_000
# Headers store float32, which places the far corner of a body to about 1e-4 mm.
_ROUNDING_MM = 0.01

_T = TypeVar("_T", int, float)


@dataclass(frozen=True)
class Intensity:
    """Intensities of one channel in the scan's own unit; `percentile_99_5` is the 99.5th."""

    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float
    min: float
    max: float


@dataclass(frozen=True, eq=False)
class CaseFacts:
    """What the files of one case hold; fields of a file that cannot be read stay at their defaults.

    Args:
        name: of the case.
        findings: what is wrong with this case alone.
        shape: voxels along the file's own axes I, J, K.
        spacing_mm: distance of voxel centres along I, J, K.
        orientation: where I, J, K point, such as "RAS".
        ras_shape: voxels along the patient's axes right, front, up.
        ras_spacing_mm: distance of voxel centres along right, front, up.
        label_counts: label value → voxels, background included, the label to ignore left out.
        white_as_one: whether the mask spells the label 1 as 255, as many pictures do.
        label_digest: the same for two masks only if their shapes and values are the same.
        intensity: per channel, over the whole image.
        foreground_sample: `[C, n]`, n ≤ 1000, intensities where the label is neither 0 nor ignored.
    """

    name: str
    findings: tuple[Finding, ...] = ()
    shape: tuple[int, int, int] = (0, 0, 0)
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    orientation: str = ""
    ras_shape: tuple[int, int, int] = (0, 0, 0)
    ras_spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    label_counts: dict[int, int] = field(default_factory=dict)
    white_as_one: bool = False
    label_digest: str = ""
    intensity: tuple[Intensity, ...] = ()
    foreground_sample: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def usable(self) -> bool:
        """Whether image and label were read and nothing about them is fatal."""
        return bool(self.label_counts) and all(f.severity != "fatal" for f in self.findings)


def inspect_dataset(
    dataset: Dataset, *, on_progress: Callable[[int, int], None] | None = None
) -> list[CaseFacts]:
    """Facts of all cases, in the order of `dataset.cases`.

    Args:
        dataset: what `find_dataset` found.
        on_progress: called with (cases done, cases in all) after each case.
    """
    facts: list[CaseFacts] = []
    # Two threads: one reads and inflates while the other computes; both release the interpreter.
    with ThreadPoolExecutor(2) as pool:
        for each in pool.map(
            lambda case: inspect_case(
                case, num_channels=dataset.num_channels, ignore_label=dataset.ignore_label
            ),
            dataset.cases,
        ):
            facts.append(each)
            if on_progress:
                on_progress(len(facts), len(dataset.cases))
    return _with_one_spelling(dataset, facts)


def _with_one_spelling(dataset: Dataset, facts: list[CaseFacts]) -> list[CaseFacts]:
    """Picture masks of 0 and 255 counted as 0 and 1 where the data set means the same by both.

    `attnseg.images.read_labels` reads them so, given the label values of the data set.
    """
    declared = [*dataset.label_names]
    if dataset.ignore_label is not None:
        declared.append(dataset.ignore_label)
    masks = [case.label_counts for case in facts]
    if not dataset.pictures or not white_is_one(masks, declared):
        return facts
    return [
        replace(
            case,
            label_counts={min(value, 1): n for value, n in case.label_counts.items()},
            white_as_one=True,
        )
        if WHITE in case.label_counts
        else case
        for case in facts
    ]


def inspect_case(case: Case, *, num_channels: int, ignore_label: int | None = None) -> CaseFacts:
    """Read one case and note what checks and planning need to know about it.

    Args:
        case: its files; a case without a label is inspected as far as possible.
        num_channels: channels that every image of the data set must have.
        ignore_label: value of voxels that nobody labelled.
    """
    label_path = case.label
    image, findings = _attempt(case.name, lambda: read_case(case.images, num_channels=num_channels))
    labels, label_findings = (
        _attempt(case.name, lambda: read_labels(label_path)) if label_path else (None, [])
    )
    findings += label_findings
    facts = CaseFacts(case.name)
    if image:
        geometry = image.geometry
        findings += _intensity_findings(case.name, image.array)
        facts = replace(
            facts,
            shape=geometry.shape,
            spacing_mm=geometry.spacing_mm,
            orientation=geometry.orientation,
            ras_shape=_on_ras_axes(geometry, geometry.shape),
            ras_spacing_mm=_on_ras_axes(geometry, geometry.spacing_mm),
            intensity=tuple(_intensity(channel) for channel in image.array),
        )
    if labels:
        counts = _count_values(labels.array[0])
        digest = _digest(labels.array[0], counts)
        if ignore_label is not None:
            counts.pop(ignore_label, None)
            counts = counts or {0: 0}
        findings += _label_findings(case.name, counts, ignore_label)
        facts = replace(facts, label_counts=counts, label_digest=digest)
    if image and labels:
        findings += _grid_findings(case.name, image.geometry, labels.geometry)
        if image.geometry.shape == labels.geometry.shape:
            drawn = labels.array[0]
            if ignore_label is not None:
                drawn = np.where(drawn == ignore_label, 0, drawn)
            sample = _foreground_sample(image.array, drawn)
            facts = replace(facts, foreground_sample=sample)
    return replace(facts, findings=tuple(findings))


def _attempt(name: str, read: Callable[[], Image]) -> tuple[Image | None, list[Finding]]:
    try:
        return read(), []
    except DataError as error:
        # DataErrors say "what is wrong; what to do", the two halves of a finding.
        problem, _, remedy = str(error).rpartition("; ")
        if not problem:
            problem, remedy = str(error), "repair the file or leave the case out"
        return None, [Finding(name, "fatal", problem, remedy)]


def _grid_findings(name: str, image: Geometry, label: Geometry) -> list[Finding]:
    if image.shape != label.shape:
        problem = f"label has shape {label.shape}, the image {image.shape}"
        return [Finding(name, "fatal", problem, "find the mask that was drawn on this image")]
    distance = image.distance_mm(label)
    if not image.matches(label):
        problem = f"label lies up to {distance:.3g} mm off the image (their affines differ)"
        return [Finding(name, "fatal", problem, "resample the label to the grid of the image")]
    if distance > _ROUNDING_MM:
        problem = f"label lies up to {distance:.2g} mm off the image, less than a tenth of a voxel"
        return [Finding(name, "warning", problem, "no harm done; the image's affine is used")]
    return []


def _intensity_findings(name: str, array: np.ndarray) -> list[Finding]:
    findings = []
    for number, channel in enumerate(array):
        bad = channel.size - int(np.count_nonzero(np.isfinite(channel)))
        if bad:
            problem = f"channel {number} has {bad} voxel(s) that are NaN or infinite"
            remedy = "replace them, for example by the background's value"
            findings.append(Finding(name, "fatal", problem, remedy))
        elif channel.min() == channel.max():
            problem = f"channel {number} is {channel.min():g} everywhere"
            remedy = "check the export of this image"
            findings.append(Finding(name, "warning", problem, remedy))
    return findings


def _label_findings(name: str, counts: dict[int, int], ignore_label: int | None) -> list[Finding]:
    if any(value != 0 for value in counts):
        return []
    ignored = "" if ignore_label is None else f" or {ignore_label} (ignored)"
    remedy = "fine if nothing is to be found in this scan; otherwise draw its mask"
    return [Finding(name, "warning", f"empty label: every voxel is 0{ignored}", remedy)]


def _on_ras_axes(geometry: Geometry, values: tuple[_T, _T, _T]) -> tuple[_T, _T, _T]:
    """Values given along I, J, K, put in order of the patient's axes right, front, up."""
    r, a, s = (values[axis] for axis, _ in geometry.ras_axes)
    return r, a, s


def _intensity(channel: np.ndarray) -> Intensity:
    """Statistics of `[I, J, K]`: all but the extremes from at most a million spaced-out voxels."""
    values = channel.ravel(order="K")
    values = values[np.isfinite(values)]
    if values.size == 0:
        return Intensity(*[float("nan")] * 6)
    sample = values[:: -(-values.size // _STATISTICS_SAMPLES)].astype(np.float64)
    low, high = np.percentile(sample, (0.5, 99.5))
    return Intensity(
        mean=float(sample.mean()),
        std=float(sample.std()),
        percentile_00_5=float(low),
        percentile_99_5=float(high),
        min=float(values.min()),
        max=float(values.max()),
    )


def _count_values(labels: np.ndarray) -> dict[int, int]:
    """Voxels of each value in `[I, J, K]`; slice by slice, so that no large copy is sorted."""
    counts: Counter[int] = Counter()
    for index in range(labels.shape[2]):
        values, numbers = np.unique(labels[:, :, index], return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    return dict(sorted(counts.items()))


def _digest(labels: np.ndarray, counts: dict[int, int]) -> str:
    """Digest of shape and values; the type in which the file stores them plays no part."""
    compact = labels.astype(smallest_integer_type(tuple(counts)))
    digest = hashlib.sha256(repr((labels.shape, compact.dtype.str)).encode())
    digest.update(compact.tobytes(order="F"))
    return digest.hexdigest()


def _foreground_sample(array: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`[C, n]` intensities at up to 1000 evenly spaced voxels of the foreground."""
    foreground = np.flatnonzero(labels)
    if foreground.size > FOREGROUND_SAMPLES:
        picks = np.linspace(0, foreground.size - 1, FOREGROUND_SAMPLES).round().astype(np.int64)
        foreground = foreground[picks]
    i, j, k = np.unravel_index(foreground, labels.shape)
    return np.ascontiguousarray(array[:, i, j, k])
