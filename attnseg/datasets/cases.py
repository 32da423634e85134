"""What a folder of scans and masks holds: cases, channels, labels, and what is wrong with it."""

from dataclasses import dataclass, field
from pathlib import Path

from attnseg.datasets.findings import Finding
from attnseg.images import is_picture
from attnseg.spec import Region

LAYOUT_NAMES = {
    "msd": "Medical Segmentation Decathlon",
    "nnunet": "nnU-Net raw",
    "paired": "paired folders",
}


@dataclass(frozen=True)
class Case:
    """One patient's scan and mask.

    Args:
        name: unique within the data set; the mask of a prediction is named after it.
        images: one file per channel, or one 3D or 4D file that holds them all.
        label: the mask; None where the layout has none for this scan.
        labels_present: label values that were drawn in this mask, where its 0 may be any other
            label; None where all were.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None
    labels_present: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Dataset:
    """A folder as attnseg understood it.

    Args:
        root: the folder.
        layout: "msd", "nnunet" or "paired".
        cases: sorted by name.
        channel_names: one per channel, in the order of the channels.
        label_names: label value → name without the background 0, as far as the folder tells.
        problems: what is wrong with the folder itself; `inspect_dataset` looks into the files.
        ignore_label: value of voxels that nobody labelled; None where there is none.
        regions: structures that unite labels, in the order in which they are written.
    """

    root: Path
    layout: str
    cases: tuple[Case, ...]
    channel_names: tuple[str, ...]
    label_names: dict[int, str] = field(default_factory=dict)
    problems: tuple[Finding, ...] = ()
    ignore_label: int | None = None
    regions: tuple[Region, ...] = ()

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
        if self.cases:
            first = self.cases[0]
            files = [*first.images, *([first.label] if first.label else [])]
            shown = [
                str(file.relative_to(self.root) if file.is_relative_to(self.root) else file)
                for file in files
            ]
            lines.append(f"first case: {first.name} ({', '.join(shown)})")
        return "\n".join(lines)
