"""Which prediction belongs to which reference, and what the labels are called."""

from pathlib import Path

from attnseg.datasets.labels import LabelScheme, read_label_scheme
from attnseg.errors import DataError
from attnseg.images import holds_labels
from attnseg.inference.written import bids_case, case_of, is_one_mask, masks_in
from attnseg.names import composed, resolved


def match_files(prediction: Path, reference: Path) -> list[tuple[str, Path, Path]]:
    """Pair masks: two masks, or two folders by case name.

    A mask is a file, or a folder with a file for each label (`attnseg predict --per-label`).
    The case name is the file name without its suffix (`.nii.gz`, `.png`, …) and without the channel
    number `_0000`; which masks a folder holds, `masks_in` says.
    References without a prediction are left out; `unmatched_references` names them.

    Returns:
        (case name, prediction, reference) in order of the names.

    Raises:
        DataError: a path that does not exist, one mask with a folder of masks, no mask in a folder,
            one name twice, predictions without a reference.
    """
    for path in (prediction, reference):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; check the path")
    if _is_pair(prediction, reference):
        return [(case_of(prediction), prediction, reference)]
    if is_one_mask(prediction) or is_one_mask(reference):
        raise DataError(
            f"{prediction} and {reference}: one is a file and the other a folder; give two files "
            "or two folders (a folder with a file for each label is one mask if its manifest lies "
            "above it, or if it is called as the other mask)"
        )
    predictions, references = masks_in(prediction), _by_name(reference)
    missing = [name for name in predictions if name not in references]
    if missing:
        raise DataError(
            f"{reference}: no reference for {len(missing)} of {len(predictions)} predictions "
            f"({', '.join(missing)}); every prediction needs a reference of the same name: add "
            "them, or move those predictions to another folder"
        )
    return [(name, path, references[name]) for name, path in predictions.items()]


def _is_pair(one: Path, other: Path) -> bool:
    """Whether both are a single mask. A folder of images that no manifest names is taken for one
    beside a single mask of the same case name."""
    known = [path for path in (one, other) if is_one_mask(path)]
    rest = [path for path in (one, other) if path not in known]
    return bool(known) and all(
        holds_labels(path) and case_of(path) == case_of(known[0]) for path in rest
    )


def _by_name(folder: Path) -> dict[str, Path]:
    """The masks of a folder, by the names that masks of BIDS have too."""
    masks = masks_in(folder)
    return {bids_case(name): path for name, path in masks.items()} | masks


def match_reference(name: str, reference: Path) -> Path:
    """The mask of one case: `reference` itself, or the file of that name in this folder.

    Raises:
        DataError: there is none.
    """
    if not reference.exists():
        raise DataError(f"{reference}: no such file or folder; check the path")
    if is_one_mask(reference):
        return reference
    masks = _by_name(reference)
    case = composed(name).removesuffix("_0000")
    if case not in masks:
        raise DataError(f"{reference}: no mask of {name}; add it, or leave --ref out")
    return masks[case]


def unmatched_references(prediction: Path, reference: Path) -> tuple[str, ...]:
    """Names of the cases in the reference folder that were not predicted; none for two masks."""
    if _is_pair(prediction, reference):
        return ()
    predictions = masks_in(prediction).keys()
    names = masks_in(reference).keys()
    return tuple(sorted(name for name in names if not {name, bids_case(name)} & predictions))


def find_label_scheme(reference: Path) -> LabelScheme:
    """What a `dataset.json` in the reference folder or its parent says about labels.

    Both spellings are read: `{"1": "liver"}` (Medical Segmentation Decathlon) and `{"liver": 1}`
    (nnU-Net, with its regions and its label to ignore).

    Returns:
        Names, regions and the rest; empty where there is no such file or it names no labels.

    Raises:
        DataError: the file cannot be understood.
    """
    folder = reference if reference.is_dir() else reference.parent
    for place in (folder, resolved(folder).parent):
        if any((place / name).is_file() for name in ("dataset.json", "labels_present.json")):
            return read_label_scheme(place)
    return LabelScheme()


def find_label_names(reference: Path) -> dict[int, str]:
    """Names by label value from `find_label_scheme`, background and regions left out."""
    return find_label_scheme(reference).names
