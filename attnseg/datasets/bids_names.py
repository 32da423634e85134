"""File names of BIDS, the Brain Imaging Data Structure: taken apart, and made.

After the specification 1.10, bids-specification.readthedocs.io: a name is a chain of entities
`key-value` and a suffix, joined by `_`; labels are letters and digits.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnseg.errors import DataError
from attnseg.images import strip_suffix

VERSION = "1.10.0"
DERIVATIVE = "attnseg"
# Column of participants.tsv with the name that a case had before it was written as BIDS.
CASE_COLUMN = "attnseg_case"
# Folders of a subject that hold scans; `ct` is of the proposal for CT (BEP 24).
DATATYPES = ("anat", "ct")
# Suffixes for what people call their channels; without one a name stands as it is.
_SUFFIXES = {
    **dict.fromkeys(("t1", "t1w"), "T1w"),
    **dict.fromkeys(("t1c", "t1ce", "t1gd", "t1post"), "ce-gadolinium_T1w"),
    **dict.fromkeys(("t2", "t2w"), "T2w"),
    **dict.fromkeys(("pd", "pdw"), "PDw"),
    "flair": "FLAIR",
    "ct": "ct",
}
# Of the specification's table of anatomical suffixes; its validator takes no other.
_KNOWN = (
    "T1w", "T2w", "PDw", "T2starw", "inplaneT1", "inplaneT2", "PDT2", "angio", "FLAIR", "UNIT1",
    "T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "MTRmap", "MTsat",
    "T1rho", "MWFmap", "MTVmap", "M0map", "Chimap", "S0map",
)  # fmt: skip


@dataclass(frozen=True)
class BidsName:
    """A file name taken apart.

    Args:
        subject: `01` of `sub-01`.
        session: `1` of `ses-1`; None where there is none.
        kind: all behind them, without the file's suffix, as `acq-high_T1w`.
    """

    subject: str
    session: str | None
    kind: str

    @property
    def case(self) -> str:
        """`sub-01`, or `sub-01_ses-1`."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")

    @property
    def folder(self) -> Path:
        """Of its subject or session, in the data set or a derivative."""
        subject = Path(f"sub-{self.subject}")
        return subject / f"ses-{self.session}" if self.session else subject

    @property
    def entities(self) -> set[str]:
        """`key-value` chains besides subject and session."""
        return set(self.kind.split("_")[:-1])


def parse_name(name: str) -> BidsName | None:
    """`sub-01_ses-1_T1w.nii.gz` → its parts; None for names that are not of BIDS."""
    match = re.fullmatch(
        r"sub-([a-zA-Z0-9]+)(?:_ses-([a-zA-Z0-9]+))?_((?:[a-zA-Z0-9]+-[a-zA-Z0-9+]+_)*[a-zA-Z0-9]+)",
        strip_suffix(name),
    )
    return BidsName(match[1], match[2], match[3]) if match else None


def name_of_case(case: str) -> BidsName:
    """The subject, and perhaps session, that a case becomes; its kind is empty.

    A name of BIDS stays; of any other the letters and digits are the subject.

    Raises:
        DataError: a name without a letter or digit.
    """
    match = re.fullmatch(r"sub-([a-zA-Z0-9]+)(?:_ses-([a-zA-Z0-9]+))?", case)
    subject = match[1] if match else re.sub(r"[^a-zA-Z0-9]", "", case)
    if not subject:
        raise DataError(f"case {case!r}: no letter or digit, of which BIDS makes names; rename it")
    return BidsName(subject, match[2] if match else None, "")


def kind_of_channel(channel: str) -> str:
    """Entities and suffix that a channel becomes: "T1" → "T1w".

    Raises:
        DataError: a name without a letter or digit.
    """
    plain = re.sub(r"[^a-zA-Z0-9]", "", channel)
    kind = _SUFFIXES.get(plain.lower())
    if kind or re.fullmatch(r"(?:[a-zA-Z0-9]+-[a-zA-Z0-9]+_)*[a-zA-Z0-9]+", channel):
        return kind or channel
    if not plain:
        raise DataError(f"channel {channel!r}: no letter or digit, of which BIDS makes suffixes")
    return plain


def unknown_suffixes(kinds: Sequence[str]) -> list[str]:
    """Those whose suffix BIDS does not know."""
    return [kind for kind in kinds if kind.split("_")[-1] not in _KNOWN]


def mask_path(scan: Path, *, suffix: str = ".nii.gz") -> Path | None:
    """Where the mask of a scan of BIDS lies, relative to the folder of a derivative.

    Its name is the scan's own with `dseg` for suffix, as the specification asks of a discrete
    segmentation on the grid of the scan.

    Args:
        scan: its path or name.
        suffix: the mask's file suffix.

    Returns:
        None where the scan's name is not of BIDS.

    Example:
        >>> mask_path(Path("bids/sub-01/ses-1/anat/sub-01_ses-1_acq-a_T1w.nii.gz")).as_posix()
        'sub-01/ses-1/anat/sub-01_ses-1_acq-a_dseg.nii.gz'
    """
    name = parse_name(scan.name)
    if name is None:
        return None
    entities = name.kind.split("_")[:-1]
    stem = "_".join([name.case, *entities, "dseg"])
    return name.folder / DATATYPES[0] / f"{stem}{suffix}"


def description(name: str, *, derivative: bool, version: str) -> dict[str, object]:
    """Content of `dataset_description.json`.

    Args:
        name: of the data set.
        derivative: whether it holds what was computed or drawn, and not scans.
        version: of attnseg.
    """
    made_by = [{"Name": "attnseg", "Version": version}]
    kind = "derivative" if derivative else "raw"
    return {
        "Name": name, "BIDSVersion": VERSION, "DatasetType": kind, "GeneratedBy": made_by,
    }  # fmt: skip


def label_table(names: Mapping[int, str], *, ignore: int | None = None) -> str:
    """Content of `dseg.tsv`: a line for each label, the background first."""
    rows = {0: "background", **names} | ({} if ignore is None else {ignore: "ignore"})
    lines = [f"{value}\t{' '.join(name.split())}" for value, name in sorted(rows.items())]
    return "\n".join(["index\tname", *lines]) + "\n"
