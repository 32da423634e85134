"""Names of labels as coded concepts."""

import pytest
from pydicom.sr.codedict import codes

from attnseg.images.dicom import codes as table


@pytest.mark.parametrize(
    ("name", "value", "side"),
    [
        ("liver", "10200004", None),
        ("Left Kidney", "64033007", "Left"),
        ("kidney_right", "64033007", "Right"),
        ("Parotid_L", "45289007", "Left"),
        ("RightParotid", "45289007", "Right"),
        ("LParotid", "45289007", "Left"),
        ("kidney_lt", "64033007", "Left"),
        ("lungright", "39607008", "Right"),
        ("rh.hippocampus", "5366008", "Right"),
        ("lungs", "39607008", None),
        ("left_ventricle", "87878005", None),
        ("Left hippocampus", "5366008", "Left"),
        ("Brainstem", "119238007", None),
        ("oesophagus", "32849002", None),
        ("SpinalCord", "2748008", None),
        ("Mandible", "91609006", None),
    ],
)
def test_anatomy(name: str, value: str, side: str | None) -> None:
    found = table.concept(name)
    assert (found.kind.value, found.kind.scheme_designator) == (value, "SCT")
    assert found.category == codes.SCT.AnatomicalStructure
    assert (None if found.side is None else found.side.meaning) == side


@pytest.mark.parametrize("name", ["tumour", "Tumor", "lesions", "oedema"])
def test_what_disease_makes(name: str) -> None:
    assert table.concept(name).category.value == "49755003"


def test_other_names_keep_themselves() -> None:
    found, again = table.concept("anterior left"), table.concept("anterior left")
    assert found == again
    assert (found.kind.scheme_designator, found.kind.meaning) == ("99ATTNSEG", "anterior left")
    assert len(found.kind.value) <= 16  # SH
    assert found.side == codes.SCT.Left
    assert table.concept("posterior").kind.value != found.kind.value


def test_every_keyword_of_the_table_is_one_of_pydicom() -> None:
    for names in (table._ANATOMY, table._ALTERED):
        for name in names:
            assert table.concept(name).kind.scheme_designator == "SCT", name
    for spelling, name in table._SPELLINGS.items():
        assert table.concept(spelling) == table.concept(name)


def test_long_strings_fit_and_colours_differ() -> None:
    assert table.long_string("a\\b\nc" + "d" * 80) == "a b c" + "d" * 59
    assert table.long_string(" \\ ") == "unnamed"
    assert len({table.colour(index) for index in range(30)}) == 30
