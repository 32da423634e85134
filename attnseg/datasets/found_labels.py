"""What the masks of a data set hold beyond what is declared, when the set is written anew. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from attnseg.datasets.arrange import Target
from attnseg.datasets.cases import Dataset
from attnseg.images import scan_suffix, shown
from attnseg.spec import unnamed

_shown = partial(shown, most=10)
_NOT_OF_NNUNET = (".jpg", ".jpeg")


def with_labels_found(
    dataset: Dataset, masks: Mapping[str, Collection[int]]
) -> tuple[Dataset, list[str]]:
    """The data set with names for all values that its masks hold, and what is worth telling.

    Labels that are declared and in no mask are kept. Regions stay as they are: which one a further
    value belongs to, nobody said.

    Args:
        dataset: as it was found.
        masks: case name → values of its mask.
    """
    cases: dict[int, list[str]] = defaultdict(list)
    for name, values in masks.items():
        for value in values:
            cases[value].append(name)
    known = {0, dataset.ignore_label, *dataset.label_names}
    further = sorted(cases.keys() - known)
    if not further:
        return dataset, []
    listed = _shown(further)
    if dataset.regions:
        return dataset, [
            f"label value(s) {listed} occur in the masks but in no region; add them to a region "
            "under `labels` in dataset.json"
        ]
    # A list of what was drawn in a case names declared labels alone, once any are declared.
    drawn = {value for case in dataset.cases for value in case.labels_present or ()}
    names = _with_names(dataset.label_names, sorted({*further, *(drawn - known)}))
    called = _shown([names[value] for value in further])
    notes = [f"label value(s) {listed} occur in the masks but were not declared; named {called}"]
    alone = [value for value in further if len(cases[value]) == 1 and len(masks) > 1]
    if alone:
        notes.append(
            f"label value(s) {_shown(alone)} occur in one mask only, such as that of "
            f"{cases[alone[0]][0]}; see whether they are meant"
        )
    return replace(dataset, label_names=names), notes


def nnunet_notes(dataset: Dataset, targets: Sequence[Target]) -> list[str]:
    """What nnU-Net itself would refuse in its layout, which attnseg reads as it is."""
    notes = []
    ignore = [] if dataset.ignore_label is None else [dataset.ignore_label]
    values = [*sorted(dataset.label_names), *ignore]
    if values != list(range(1, len(values) + 1)):
        notes.append(
            "nnU-Net takes labels 1, 2, 3, … without gaps, the one to ignore last, and these are "
            f"{_shown(values)}; attnseg trains on them as they are, for nnU-Net renumber masks "
            "and dataset.json"
        )
    files = [path for each in targets for path in (*each.images, each.label)]
    endings = sorted({scan_suffix(path.name) for path in files})
    if len(endings) > 1 or (endings and endings[0] in _NOT_OF_NNUNET):
        notes.append(
            "nnU-Net takes one file ending that it can read, and these files end in "
            f"{', '.join(endings)}; attnseg reads them as they are, for nnU-Net save all as .png"
        )
    return notes


def _with_names(names: Mapping[int, str], further: Iterable[int]) -> dict[int, str]:
    """The declared names, and one of its own for each further value."""
    every = dict(names)
    for value in further:
        name = unnamed(value)
        while name in every.values():
            name += "_"
        every[value] = name
    return dict(sorted(every.items()))
