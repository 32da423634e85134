"""Which prediction belongs to which reference, and what the labels are called."""

import re
from pathlib import Path

from attnseg.datasets.labels import LabelScheme, read_label_scheme
from attnseg.errors import DataError
from attnseg.images import is_result, is_scan, left_out, mask_name, shown
from attnseg.names import composed, how_they_differ

# What `attnseg predict` and `attnseg attention` write beside the mask of the same name.
_BESIDE = re.compile(r"_(probabilities|attention(_gate\d+)?)$")


def match_files(prediction: Path, reference: Path) -> list[tuple[str, Path, Path]]:
    """Pair masks: two files, or two folders by case name.

    The case name is the file name without its suffix (`.nii.gz`, `.png`, …) and without the channel
    number `_0000`.
    References without a prediction are left out; `unmatched_references` names them.

    Returns:
        (case name, prediction, reference) in order of the names.

    Raises:
        DataError: a path that does not exist, a file with a folder, no mask in a folder, one name
            twice, predictions without a reference.
    """
    for path in (prediction, reference):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; check the path")
    if prediction.is_file() and reference.is_file():
        return [(_case_name(prediction), prediction, reference)]
    if prediction.is_file() or reference.is_file():
        raise DataError(
            f"{prediction} and {reference}: one is a file and the other a folder; give two files "
            "or two folders"
        )
    predictions, references = _masks(prediction), _masks(reference)
    missing = [name for name in predictions if name not in references]
    if missing:
        raise DataError(
            f"{reference}: no reference for {len(missing)} of {len(predictions)} predictions "
            f"({', '.join(missing)}); every prediction needs a reference of the same name: add "
            "them, or move those predictions to another folder"
        )
    return [(name, path, references[name]) for name, path in predictions.items()]


def match_reference(name: str, reference: Path) -> Path:
    """The mask of one case: `reference` itself, or the file of that name in this folder.

    Raises:
        DataError: there is none.
    """
    if not reference.exists():
        raise DataError(f"{reference}: no such file or folder; check the path")
    if reference.is_file():
        return reference
    masks = _masks(reference)
    case = composed(name).removesuffix("_0000")
    if case not in masks:
        raise DataError(f"{reference}: no mask of {name}; add it, or leave --ref out")
    return masks[case]


def unmatched_references(prediction: Path, reference: Path) -> tuple[str, ...]:
    """Names of the cases in the reference folder that were not predicted; none for two files."""
    if prediction.is_file():
        return ()
    return tuple(sorted(_masks(reference).keys() - _masks(prediction).keys()))


def not_compared(*places: Path) -> tuple[str, ...]:
    """What lies in folders of masks and is not taken for one, a sentence for each folder.

    Masks of single labels and other files in a folder that `attnseg predict` wrote are none of it.
    """
    told = []
    for folder in dict.fromkeys(place for place in places if place.is_dir()):
        if is_result(folder):
            continue
        rest = left_out(folder)
        names = [*rest.unread, *rest.dicom, *(path.as_posix() for path in rest.below)]
        if names:
            told.append(
                f"{folder}: {len(names)} file(s) are not compared, in folders within or in formats "
                f"that are not read ({shown(names)}); convert them, or give their own folder"
            )
    return tuple(told)


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
    for place in (folder, folder.resolve().parent):
        if any((place / name).is_file() for name in ("dataset.json", "labels_present.json")):
            return read_label_scheme(place)
    return LabelScheme()


def find_label_names(reference: Path) -> dict[int, str]:
    """Names by label value from `find_label_scheme`, background and regions left out."""
    return find_label_scheme(reference).names


def _case_name(path: Path) -> str:
    return mask_name(path.name).removesuffix("_0000")


def _masks(folder: Path) -> dict[str, Path]:
    """Masks of a folder by case name, in order of the names."""
    masks: dict[str, Path] = {}
    paths = [path for path in sorted(folder.iterdir()) if is_scan(path)]
    names = {_case_name(path) for path in paths}
    for path in paths:
        name = _case_name(path)
        if _BESIDE.search(name) and _BESIDE.sub("", name) in names:
            continue
        if name in masks:
            raise DataError(
                f"{folder}: {masks[name].name} and {path.name} are both case {name}"
                f"{how_they_differ(masks[name].name, path.name)}; keep one"
            )
        masks[name] = path
    if not masks:
        others = not_compared(folder)
        raise DataError(
            f"{folder}: no mask (.nii.gz, .nrrd, .mha, .png, …) in this folder; "
            + (others[0].removeprefix(f"{folder}: ") if others else "check the path")
        )
    return masks
