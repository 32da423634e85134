"""Left and right in names: one table, read alike by checks, mirroring, prediction and DICOM."""

import pytest
from side_names import PAIRS

from attnseg.sides import find_sides, words_of

NONE = [
    "salt", "malt", "result", "bolt", "cortex", "bright", "bright lesion", "brightness", "cleft",
    "upright", "outright", "leftover", "left over", "left-overs",
    "right-handed", "copyright", "rhombus", "endroit", "adroit", "blinks",
    "rechtsform", "label 1", "label", "larynx", "rectum", "retina", "vertebra L1", "L5", "vertebra",
    "liver", "lens", "tumour", "rein_g", "rein_d", "zone d", "re-growth", "lkidney", "Anterior",
    "background", "lungs L+R", "both kidneys (left and right)", "l'aorte", "L'aorte", "",
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_names_of_two_sides_are_pairs(left: str, right: str) -> None:
    names = {0: "background", 1: left, 2: "liver", 5: right}
    assert find_sides(names).pairs == ((1, 5),)
    assert find_sides({0: right, 9: left}).pairs == ((9, 0),)
    assert find_sides(names).named == (1, 5)


@pytest.mark.parametrize("name", NONE)
def test_words_that_only_look_like_sides(name: str) -> None:
    found = find_sides({1: name, 2: "spleen"})
    assert (found.pairs, found.single, found.named) == ((), (), ())


@pytest.mark.parametrize(
    "name",
    ["kidney_left", "Lens_L", "lung RT", "Lung_RML", "ctx-rh-insula", "linke Niere", "Niere_li",
     "rein gauche", "lungleft", "LKidney", "left ventricle", "R", "右肾"],
)  # fmt: skip
def test_a_side_without_its_partner_is_a_side(name: str) -> None:
    found = find_sides({1: "liver", 4: name})
    assert (found.pairs, found.single, found.named) == ((), (4,), (4,))


@pytest.mark.parametrize(
    ("names", "single"),
    [
        (("left kidney", "right lung"), (0, 1)),
        (("kidney_left", "kidney"), (0,)),
        (("rib_left_1", "rib_right_2"), (0, 1)),
        (("vertebra L1", "vertebra L2"), ()),
        (("cleft", "bright"), ()),
        (("lateral", "ventral"), ()),
        (("zone a", "zone d", "zone g"), ()),
        (("Lung_LUL", "Lung_RML"), (0, 1)),
    ],
)
def test_partners_must_be_alike_beside_the_side(names: tuple[str, ...], single: tuple) -> None:
    found = find_sides(dict(enumerate(names)))
    assert (found.pairs, found.single) == ((), single)


def test_several_pairs_and_a_name_that_is_there_twice() -> None:
    names = {1: "a left", 2: "b right", 3: "a right", 4: "b left", 7: "A_Left"}
    found = find_sides(names)
    assert (found.pairs, found.single) == (((1, 3), (4, 2)), (7,))


def test_words_are_the_same_in_every_spelling() -> None:
    spellings = (
        "Femur_Head_L",
        "femur head (left)",
        "FemurHeadL",
        "femur-head-lt",
        "Femur.Head.lh",
    )
    assert {words_of(name) for name in spellings} == {("femur", "head", "left")}
    assert words_of("kidne\u0301y_L") == words_of("kidnéy_L")
