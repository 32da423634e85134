"""One pass over the files: what each case holds, kept small, and what is wrong with it alone."""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from attnseg.datasets.case_checks import (
    check_image,
    check_label,
    check_pair,
    completed,
    notes_of,
)
from attnseg.datasets.cases import Case, Dataset
from attnseg.datasets.findings import Finding
from attnseg.datasets.interpolated import count_between, named_values, suspects
from attnseg.datasets.labels import WHITE, white_is_one
from attnseg.datasets.measures import (
    Intensity,
    centroids_mm,
    count_values,
    foreground_sample,
    image_digest,
    intensity_of,
    label_digest,
    on_ras_axes,
)
from attnseg.datasets.pictures import check_turn, colours_of_labels
from attnseg.errors import DataError
from attnseg.images import Image, Source, read_case, read_labels
from attnseg.preprocessing import constant_channels

# Gets name, image and mask of each case while they are in memory; None for what is not there.
Look = Callable[[str, Image | None, Image | None], None]


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
        label_colours: label value → its colour, such as "#ff0000", of a mask with a palette.
        between: label value that nobody named → voxels looked at, and how many of them lie between
            a smaller and a larger neighbour; only of masks that may be interpolated.
        label_digest: the same for two masks only if their shapes and values are the same.
        label_centres_mm: label value → centre of its voxels in mm, RAS+, by the mask's own header;
            background and the label to ignore left out.
        voxel_volume_mm3: of the mask.
        image_digest: the same for two images only if their shapes and values are the same.
        notes: what the readers had to settle, each with "image" or "label" before it.
        constant_channels: a sentence for each channel that has the same value everywhere.
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
    label_colours: dict[int, str] = field(default_factory=dict)
    between: dict[int, tuple[int, int]] = field(default_factory=dict)
    label_digest: str = ""
    label_centres_mm: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    voxel_volume_mm3: float = 0.0
    image_digest: str = ""
    notes: tuple[str, ...] = ()
    constant_channels: tuple[str, ...] = ()
    intensity: tuple[Intensity, ...] = ()
    foreground_sample: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def usable(self) -> bool:
        """Whether image and label were read and nothing about them stops training."""
        return bool(self.label_counts) and not any(finding.stops for finding in self.findings)

    @property
    def volumes_ml(self) -> dict[int, float]:
        """Label value → its volume in ml, background left out."""
        return {
            value: count * self.voxel_volume_mm3 / 1000
            for value, count in self.label_counts.items()
            if value != 0
        }


def inspect_dataset(
    dataset: Dataset,
    *,
    known: Mapping[str, CaseFacts] = MappingProxyType({}),
    on_progress: Callable[[int, int], None] | None = None,
    look: Look | None = None,
) -> list[CaseFacts]:
    """Facts of all cases, in the order of `dataset.cases`.

    Args:
        dataset: what `find_dataset` found.
        known: case → its facts, of cases whose files need not be opened again.
        on_progress: called with (cases done, cases in all) after each case.
        look: called with each case's image and mask, from two threads; files are read once.
    """
    facts: list[CaseFacts] = []
    named = named_values(dataset)
    # Two threads: one reads and inflates while the other computes; both release the interpreter.
    with ThreadPoolExecutor(2) as pool:
        for each in pool.map(
            lambda case: (
                known.get(case.name)
                or inspect_case(
                    case,
                    num_channels=dataset.num_channels,
                    channel_names=dataset.channel_names,
                    ignore_label=dataset.ignore_label,
                    named=named,
                    look=look,
                )
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


def inspect_case(
    case: Case,
    *,
    num_channels: int | None,
    channel_names: tuple[str, ...] = (),
    ignore_label: int | None = None,
    named: Collection[int] = (),
    look: Look | None = None,
) -> CaseFacts:
    """Read one case and note what checks and planning need to know about it.

    Args:
        case: its files; a case without a label is inspected as far as possible.
        num_channels: channels that every image of the data set must have; None takes what is there.
        channel_names: for messages.
        ignore_label: value of voxels that nobody labelled.
        named: label values that somebody named; others may have come of interpolation.
        look: called with the image and the mask; None for one that is not there.
    """
    return inspect_files(
        case.name,
        case.images,
        case.label,
        num_channels=num_channels,
        channel_names=channel_names,
        ignore_label=ignore_label,
        named=named,
        look=look,
    )


def inspect_files(
    name: str,
    sources: tuple[Source, ...],
    label: Path | None = None,
    *,
    num_channels: int | None = None,
    channel_names: tuple[str, ...] = (),
    ignore_label: int | None = None,
    named: Collection[int] = (),
    look: Look | None = None,
) -> CaseFacts:
    """The same of a scan that is in no data set, be it a file, one a channel, or a series."""
    image, findings = _attempt(
        name, lambda: read_case(sources, num_channels=num_channels, sheared=True)
    )
    labels, label_findings = _attempt(name, lambda: read_labels(label)) if label else (None, [])
    findings += label_findings
    if image and labels:
        labels = completed(labels, image.geometry)
    facts = CaseFacts(name, notes=notes_of(image, labels))
    if image:
        findings += check_image(name, image, channel_names)
        facts = _with_image(facts, image, channel_names)
    if labels:
        facts = _with_labels(facts, labels, ignore_label, named)
        findings += check_label(name, facts.label_counts, ignore_label)
    if image and labels:
        turned = check_turn(name, image, labels)
        findings += turned
        if not any(finding.stops for finding in turned):
            findings += check_pair(name, image.geometry, labels)
        if image.geometry.shape == labels.geometry.shape:
            drawn = labels.array[0]
            if ignore_label is not None:
                drawn = np.where(drawn == ignore_label, 0, drawn)
            facts = replace(facts, foreground_sample=foreground_sample(image.array, drawn))
    if look:
        look(name, image, labels)
    return replace(facts, findings=tuple(findings))


def unreadable_case(name: str, reason: str) -> CaseFacts:
    """Of a case that was found to be unreadable before it was opened."""
    return CaseFacts(name, findings=(_unreadable(name, reason),))


def _with_image(facts: CaseFacts, image: Image, channel_names: tuple[str, ...]) -> CaseFacts:
    geometry = image.geometry
    return replace(
        facts,
        shape=geometry.shape,
        spacing_mm=geometry.spacing_mm,
        orientation=geometry.orientation,
        ras_shape=on_ras_axes(geometry, geometry.shape),
        ras_spacing_mm=on_ras_axes(geometry, geometry.spacing_mm),
        image_digest=image_digest(image.array),
        constant_channels=constant_channels(image, channel_names),
        intensity=tuple(intensity_of(channel) for channel in image.array),
    )


def _with_labels(
    facts: CaseFacts, labels: Image, ignore_label: int | None, named: Collection[int]
) -> CaseFacts:
    counts = count_values(labels.array[0])
    digest = label_digest(labels.array[0], counts)
    colours = colours_of_labels(labels, counts)
    centres = centroids_mm(labels.array[0], labels.geometry)
    if ignore_label is not None:
        centres.pop(ignore_label, None)
        counts.pop(ignore_label, None)
        counts = counts or {0: 0}
    values = suspects(counts, named)
    between = count_between(labels.array[0], counts, values, ignore_label=ignore_label)
    return replace(
        facts,
        label_counts=counts,
        label_colours=colours,
        between=between,
        label_digest=digest,
        label_centres_mm=centres,
        voxel_volume_mm3=labels.geometry.voxel_volume_mm3,
    )


def _attempt(name: str, read: Callable[[], Image]) -> tuple[Image | None, list[Finding]]:
    try:
        return read(), []
    except (DataError, OSError) as error:
        return None, [_unreadable(name, str(error))]


def _unreadable(name: str, reason: str) -> Finding:
    """DataErrors say "what is wrong; what to do", the two halves of a finding."""
    problem, _, remedy = reason.rpartition("; ")
    if not problem:
        problem, remedy = reason, "repair the file or leave the case out"
    return Finding(name, "fatal", problem, remedy)
