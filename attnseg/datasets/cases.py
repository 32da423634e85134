"""What a folder of scans and masks holds: cases, channels, labels, and what is wrong with it."""

from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from attnseg.datasets.findings import Finding
from attnseg.datasets.labels import LabelScheme
from attnseg.images import is_picture
from attnseg.spec import Region

LAYOUT_NAMES = {
    "msd": "Medical Segmentation Decathlon",
    "nnunet": "nnU-Net raw",
    "paired": "paired folders",
    "bids": "BIDS",
    "table": "table of files",
    "pattern": "file name pattern",
}
_SHOWN = 3


@dataclass(frozen=True)
class Case:
    """One patient's scan and mask.

    Args:
        name: unique within the data set; the mask of a prediction is named after it.
        images: one file per channel, or one 3D or 4D file that holds them all.
        label: the mask; None where the layout has none for this scan.
        labels_present: label values that were drawn in this mask, where its 0 may be any other
            label; None where all were.
        patient: whose scan it is, where the layout says so; cases of a patient share a fold.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None
    labels_present: tuple[int, ...] | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Found:
    """What the reader of a layout hands to `find_dataset`.

    Args:
        cases: in any order.
        channel_names: one per channel.
        labels: what is known of the labels.
        problems: what is wrong with the folder.
        unmatched: what was left out, in plain sentences.
    """

    cases: list[Case]
    channel_names: tuple[str, ...]
    labels: LabelScheme
    problems: list[Finding] = field(default_factory=list)
    unmatched: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A folder as attnseg understood it.

    Args:
        root: the folder, or the file of a table.
        layout: one of `LAYOUT_NAMES`.
        cases: sorted by name.
        channel_names: one per channel, in the order of the channels.
        label_names: label value → name without the background 0, as far as the folder tells.
        problems: what is wrong with the folder itself; `inspect_dataset` looks into the files.
        ignore_label: value of voxels that nobody labelled; None where there is none.
        regions: structures that unite labels, in the order in which they are written.
        unmatched: files that belong to no case, and why, in plain sentences.
    """

    root: Path
    layout: str
    cases: tuple[Case, ...]
    channel_names: tuple[str, ...]
    label_names: dict[int, str] = field(default_factory=dict)
    problems: tuple[Finding, ...] = ()
    ignore_label: int | None = None
    regions: tuple[Region, ...] = ()
    unmatched: tuple[str, ...] = ()

    @property
    def patients(self) -> dict[str, str]:
        """Case → patient, of the cases whose patient is known."""
        return {case.name: case.patient for case in self.cases if case.patient is not None}

    @property
    def pictures(self) -> bool:
        """Whether the cases are pictures (PNG, JPEG, TIFF) and not volumes."""
        return any(is_picture(path) for case in self.cases for path in case.images[:1])

    @property
    def num_channels(self) -> int:
        """Number of channels of every image."""
        return len(self.channel_names)

    def describe(self) -> str:
        """How the folder was understood, in a few lines for the user."""
        labels = ", ".join(f"{value} {name}" for value, name in sorted(self.label_names.items()))
        lines = [
            f"{self.root}: {LAYOUT_NAMES[self.layout]} layout",
            f"cases: {len(self.cases)}",
            f"channels: {self.num_channels} ({', '.join(self.channel_names)})",
            f"labels: {labels or 'not declared; the masks will tell'}",
        ]
        if self.regions:
            regions = [
                f"{each.value} {each.name} ({', '.join(map(str, each.members))})"
                for each in self.regions
            ]
            lines.append(f"regions: {', '.join(regions)}")
        if self.ignore_label is not None:
            lines.append(f"ignored: voxels of label {self.ignore_label}")
        partial = sum(case.labels_present is not None for case in self.cases)
        if partial:
            lines.append(f"partial labels: {partial} case(s) list the labels that were drawn")
        patients = len(set(self.patients.values()))
        if 0 < patients < len(self.cases):
            lines.append(f"patients: {patients}, each in one fold")
        if self.cases and (self.num_channels == 1 or len(self.cases[0].images) == 1):
            first = self.cases[0]
            lines.append(f"first case: {first.name} ({', '.join(self._files(first))})")
        elif self.cases:
            lines += self._table()
        return "\n".join([*lines, *self.unmatched])

    def _files(self, case: Case) -> list[str]:
        """Its files, those in the data set's folder relative to it."""
        folder = self.root if self.root.is_dir() else self.root.parent
        files = [*case.images, *([case.label] if case.label else [])]
        return [
            str(file.relative_to(folder) if file.is_relative_to(folder) else file) for file in files
        ]

    def _table(self) -> list[str]:
        """Which file was matched to which channel, for the first cases."""
        rows = [["case", *self.channel_names, "label"]]
        rows += [[case.name, *self._files(case)] for case in self.cases[:_SHOWN]]
        widths = [max(map(len, cells)) for cells in zip_longest(*rows, fillvalue="")]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        more = len(self.cases) - _SHOWN
        return [*lines, *([f"and {more} more case(s)"] if more > 0 else [])]
