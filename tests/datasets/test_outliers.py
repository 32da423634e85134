"""Oddities across cases, on facts made by hand: told where they are, silent where they are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnseg.datasets import Case, CaseFacts, Dataset, Finding, Intensity, find_problems
from attnseg.datasets.measures import centroids_mm, image_digest
from attnseg.datasets.outliers import find_oddities, folded
from attnseg.images import Geometry
from attnseg.spec import Region

NAMES = {1: "left kidney", 2: "right kidney"}
RNG = np.random.default_rng(0)


def facts(name: str, **changes: object) -> CaseFacts:
    sound = CaseFacts(
        name,
        shape=(100, 100, 50),
        spacing_mm=(1.0, 1.0, 3.0),
        orientation="LPS",
        ras_shape=(100, 100, 50),
        ras_spacing_mm=(1.0, 1.0, 3.0),
        label_counts={0: 490_000, 1: 5000 + len(name), 2: 5000},
        label_digest=f"label {name}",
        label_centres_mm={1: (-50.0, 0.0, 0.0), 2: (50.0, 0.0, 0.0)},
        voxel_volume_mm3=3.0,
        image_digest=f"image {name}",
        intensity=(Intensity(0, 1, -1000, 300, -1024, 2000),),
    )
    return replace(sound, **changes)


def cohort(*odd: CaseFacts, size: int = 12) -> list[CaseFacts]:
    return [*odd, *(facts(f"c{number:02d}") for number in range(size))]


def dataset(cases: list[CaseFacts], channels=("CT",), patients: dict[str, str] | None = None):
    return Dataset(
        Path("root"),
        "paired",
        tuple(
            Case(
                each.name,
                (Path(f"{each.name}.nii"),),
                None,
                patient=(patients or {}).get(each.name),
            )
            for each in cases
        ),
        channels,
        NAMES,
    )


def oddities(
    *odd: CaseFacts, size: int = 12, channels=("CT",), severity: str = "harmless"
) -> list[tuple[str, str]]:
    cases = cohort(*odd, size=size)
    found = find_oddities(dataset(cases, channels), cases)
    assert {each.severity for each in found} <= {severity}
    return [(each.case, each.problem) for each in found]


def test_a_sound_cohort_is_left_alone():
    assert oddities() == []
    assert oddities(channels=("MR",)) == []


def test_labels_on_the_wrong_side():
    crossed = {1: (30.0, 0.0, 0.0), 2: (-40.0, 0.0, 0.0)}
    problem = "label 1 (left kidney) lies 70 mm to the patient's right of label 2 (right kidney)"
    odd = facts("x", label_centres_mm=crossed)
    assert oddities(odd, severity="warning") == [("x", problem)]
    near = {1: (3.0, 0.0, 0.0), 2: (0.0, 0.0, 0.0)}
    assert oddities(facts("x", label_centres_mm=near)) == []
    assert oddities(facts("x", label_centres_mm={1: (90.0, 0.0, 0.0)})) == []


def test_sides_of_a_whole_cohort_are_told_once():
    crossed = {1: (30.0, 0.0, 0.0), 2: (-40.0, 0.0, 0.0)}
    cases = [facts(f"x{number}", label_centres_mm=crossed) for number in range(6)]
    ((case, problem),) = oddities(*cases, severity="warning")
    assert case == "dataset"
    assert problem.startswith("6 cases, such as x0: label 1 (left kidney) lies 70 mm")


@pytest.mark.parametrize(
    ("left", "right"),
    [("ParotidL", "ParotidR"), ("ctx-lh-insula", "ctx-rh-insula"), ("lung LT", "lung RT")],
)
def test_sides_are_those_of_mirroring(left: str, right: str):
    crossed = facts("x", label_centres_mm={1: (30.0, 0.0, 0.0), 2: (-40.0, 0.0, 0.0)})
    cases = cohort(crossed)
    named = replace(dataset(cases), label_names={1: left, 2: right})
    (found,) = find_oddities(named, cases)
    assert (found.case, found.severity) == ("x", "warning")
    assert found.problem == (
        f"label 1 ({left}) lies 70 mm to the patient's right of label 2 ({right})"
    )


def test_regions_named_by_a_side_lie_where_their_labels_do():
    counts = {0: 9, 1: 100, 2: 300, 3: 50}
    centres = {1: (10.0, 0.0, 0.0), 2: (50.0, 0.0, 0.0), 3: (-20.0, 0.0, 0.0)}
    cases = [facts("x", label_counts=counts, label_centres_mm=centres), facts("y")]
    regions = (
        Region(name="lung_left", members=(1, 2), value=1),
        Region(name="lung_right", members=(3,), value=2),
    )
    names = {1: "label 1", 2: "label 2", 3: "label 3"}
    found = find_oddities(replace(dataset(cases), label_names=names, regions=regions), cases)
    assert [each.problem for each in found] == [
        "region lung_left lies 60 mm to the patient's right of region lung_right"
    ]


def test_a_label_far_smaller_than_the_rest():
    small = facts("x", label_counts={0: 1, 1: 100, 2: 5000})
    ((case, problem),) = oddities(small)
    assert case == "x"
    assert problem.startswith("label 1 (left kidney) has 0.3 ml, most others ")
    assert oddities(small, size=8) == []  # too few to say
    assert oddities(facts("x", label_counts={0: 1, 1: 1700, 2: 14_000})) == []


def test_organs_whose_volume_varies_are_left_alone():
    volumes = np.exp(RNG.normal(8, 0.7, 60))
    cases = [facts(f"v{n}", label_counts={0: 9, 1: int(v)}) for n, v in enumerate(volumes)]
    assert oddities(*cases, size=0) == []


@pytest.mark.parametrize(
    ("low", "high", "what"),
    [
        (0, 255, "scaled to 8 bits"),
        (0, 1, "scaled to 0..1 or normalised"),
        (-2.5, 3, "scaled to 0..1 or normalised"),
        (0, 4095, "shifted by 1024"),
        (-1024, 3000, None),
        (-150, 250, None),
        (0, 0, None),
    ],
)
def test_units_of_ct(low: float, high: float, what: str | None):
    odd = facts("x", intensity=(Intensity(0, 1, low, high, low, high),))
    expected = f"channel 0 (CT) has values {low:g} to {high:g}: perhaps {what}"
    assert oddities(odd, severity="warning") == ([("x", expected)] if what else [])
    assert oddities(odd, channels=("T1",)) == []
    assert oddities(odd, channels=("contrast",)) == []


def test_voxels_of_another_size():
    odd = facts("x", ras_spacing_mm=(1.0, 1.0, 10.0))
    assert oddities(odd) == [
        ("x", "voxels of 1 × 1 × 10 mm, most others 1 × 1 × 3 mm"),
        ("x", "a field of view of 100 × 100 × 500 mm, most others 100 × 100 × 150 mm"),
    ]
    thick = [facts(f"x{number}", ras_spacing_mm=(1.0, 1.0, 8.0)) for number in range(4)]
    assert oddities(*thick) == []  # a set of two kinds of scans


def test_one_scan_in_another_orientation():
    assert oddities(facts("x", orientation="RAS")) == [("x", "stored as RAS, others as LPS")]
    mixed = [facts(f"x{number}", orientation="RAS") for number in range(4)]
    assert oddities(*mixed) == []


def test_notes_of_readers_are_told_once_for_all():
    note = "image: axes 0.{} off right angles; taken as straight"
    ((case, problem),) = oddities(facts("x", notes=(note.format(3),)))
    assert (case, problem) == ("x", "image: axes 0.3 off right angles")
    many = [facts(f"x{number}", notes=(note.format(number),)) for number in range(6)]
    assert oddities(*many) == [
        ("dataset", "6 cases, such as x0: image: axes 0.0 off right angles"),
    ]


def test_scans_of_one_patient():
    names = ["p1_ph01", "p1_ph02", "p2_ph01", "p3"]
    cases = [facts(name) for name in names]
    (found,) = find_oddities(dataset(cases), cases)
    assert found.problem.startswith("2 cases seem to be scans of 1 patient(s), such as p1_ph01 and")
    assert "data.patient_pattern, perhaps to '(.+)[_-]ph'" in found.remedy
    assert found.severity == "warning"
    assert find_oddities(dataset(cases), cases, patient_pattern="(..)") == []
    known = dataset(cases, patients={name: name[:2] for name in names})
    assert find_oddities(known, cases) == []


@pytest.mark.parametrize(
    "names",
    [["hippocampus_001", "hippocampus_003"], ["scan_1", "scan_2"], ["case_t1", "case_t2"]],
)
def test_numbered_cases_are_no_patients(names: list[str]):
    cases = [facts(name) for name in names]
    assert find_oddities(dataset(cases), cases) == []


def test_cases_that_stop_training_are_compared_with_nothing():
    broken = Finding("x", "fatal", "p", "q")
    assert oddities(facts("x", orientation="RAS", findings=(broken,))) == []


def test_identical_images_are_told_with_and_without_their_labels():
    both = facts("z", image_digest="image c00", label_digest="label c00")
    image = facts("y", image_digest="image c01")
    label = facts("x", label_digest="label c02")
    blank = Intensity(0, 0, 0, 0, 0, 0)
    blanks = [facts(name, image_digest="0", intensity=(blank,)) for name in ("b1", "b2")]
    cases = [*cohort(), both, image, label, *blanks]
    found = find_problems(dataset(cases, ("MR",)), cases)
    assert [(each.case, each.severity, each.problem) for each in found] == [
        ("z", "warning", "image and label are identical to those of c00"),
        ("y", "warning", "its image is identical to that of c01"),
        ("x", "warning", "its label is identical to that of c02"),
    ]


def test_five_findings_stay_and_six_become_one():
    findings = [Finding(f"c{n}", "harmless", f"p{n}", "r") for n in range(6)]
    assert folded(findings[:5]) == findings[:5]
    assert folded(findings) == [Finding("dataset", "harmless", "6 cases, such as c0: p0", "r")]


def test_centres_of_labels_in_mm():
    labels = np.zeros((6, 5, 4), np.int16)
    labels[1, 1, 0] = labels[3, 1, 2] = 7
    labels[5, 4, 3] = -2
    affine = np.array([[0, -2, 0, 10], [1.5, 0, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1.0]])
    centres = centroids_mm(labels, Geometry(labels.shape, affine))
    assert centres == {-2: (2.0, 27.5, 39.0), 7: (8.0, 23.0, 33.0)}


def test_the_digest_of_an_image_tells_values_and_shape():
    array = RNG.normal(size=(2, 4, 3, 5)).astype(np.float32)
    digest = image_digest(array)
    assert image_digest(np.asfortranarray(array)) == digest
    assert image_digest(array.reshape(2, 3, 4, 5)) != digest
    changed = array.copy()
    changed[1, 2, 2, 2] += 1
    assert image_digest(changed) != digest
