"""Along which axes patches are mirrored, and which labels change places with left and right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnseg.config import AugmentationConfig
from attnseg.sides import find_sides
from attnseg.spec import Region, unnamed

_SHOWN = 4  # names in a sentence


@dataclass(frozen=True)
class Exchange:
    """What left and right mean to the labels and regions of a model.

    Args:
        named: names of labels and regions with a side.
        pairs: values of labels that are each other's mirror image: (left, right).
        obstacles: names of labels and regions that have no mirror image among the others: where
            there is one, no exchange of labels makes a mirrored patch true.
    """

    named: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    obstacles: tuple[str, ...]


def exchange(names: Mapping[int, str], regions: Sequence[Region] = ()) -> Exchange:
    """Which labels change places when left and right do.

    Args:
        names: label value → name.
        regions: of the model; a label without a name of its own goes by that of a region that
            consists of it alone.
    """
    of_regions = find_sides({number: region.name for number, region in enumerate(regions)})
    # Of several such regions one with a side gives the name.
    alone: dict[int, str] = {}
    for number in (*of_regions.named, *range(len(regions))):
        if len(members := regions[number].members) == 1:
            alone.setdefault(members[0], regions[number].name)
    called = {
        value: alone.get(value, name) if name == unnamed(value) else name
        for value, name in names.items()
    }
    of_labels = find_sides(called)
    partner = {value: value for value in names}
    for left, right in of_labels.pairs:
        partner[left], partner[right] = right, left

    image = {number: number for number in range(len(regions))}
    for left, right in of_regions.pairs:
        image[left], image[right] = right, left
    crooked = [
        region.name
        for number, region in enumerate(regions)
        if number in of_regions.single
        or {partner.get(value, value) for value in region.members}
        != {*regions[image[number]].members}
    ]
    named = [called[value] for value in of_labels.named]
    named += [regions[number].name for number in of_regions.named]
    obstacles = [*(called[value] for value in of_labels.single), *crooked]
    return Exchange(tuple(dict.fromkeys(named)), of_labels.pairs, tuple(dict.fromkeys(obstacles)))


def training_mirror_axes(
    names: Mapping[int, str],
    settings: AugmentationConfig,
    *,
    patch: Sequence[int],
    regions: Sequence[Region] = (),
) -> tuple[int, ...]:
    """Axes (0 R, 1 A, 2 S) along which training patches are mirrored.

    Args:
        names: of the labels, by value: left–right is left out where one has a side; with "swap"
            only where one has a side and no partner.
        settings: its `mirror` decides.
        patch: patch size; an axis of one voxel is not mirrored, and makes the patch 2D for `auto`.
        regions: of the model; their names count as those of labels do.
    """
    if _is_off(settings, patch):
        return ()
    sides = exchange(names, regions)
    fixed = sides.obstacles if settings.mirror == "swap" else sides.named
    return tuple(axis for axis, n in enumerate(patch) if n > 1 and (axis != 0 or not fixed))


def prediction_mirror_axes(
    names: Mapping[int, str],
    settings: AugmentationConfig,
    *,
    patch: Sequence[int],
    regions: Sequence[Region] = (),
) -> tuple[int, ...]:
    """Axes along which a prediction may be mirrored: those of training that change no label."""
    axes = training_mirror_axes(names, settings, patch=patch, regions=regions)
    sided = exchange(names, regions).named
    return tuple(axis for axis in axes if axis != 0 or not sided)


def mirroring_reason(
    names: Mapping[int, str],
    settings: AugmentationConfig,
    *,
    patch: Sequence[int],
    regions: Sequence[Region] = (),
) -> str | None:
    """What sides do to mirroring, in a sentence; None where they do nothing."""
    sides = exchange(names, regions)
    if _is_off(settings, patch) or patch[0] == 1 or not sides.named + sides.obstacles:
        return None
    if settings.mirror != "swap":
        return f"not left–right, since labels are named by a side: {_some(sides.named)}"
    if sides.obstacles:
        return (
            f"not left–right, since nothing is the mirror image of {_some(sides.obstacles)}: its "
            "partner for the other side is no label, or has other labels in it"
        )
    pairs = [f"{names[left]} with {names[right]}" for left, right in sides.pairs]
    return (
        f"left–right too; change places: {_some(pairs)}; not in `predict --tta`, which exchanges "
        "no labels"
    )


def _is_off(settings: AugmentationConfig, patch: Sequence[int]) -> bool:
    return settings.mirror == "none" or (settings.mirror == "auto" and 1 not in patch)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, … ({len(names)} in all)"
