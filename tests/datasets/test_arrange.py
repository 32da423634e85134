"""Data sets written in another layout: a property over small sets, and what is refused."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnseg.datasets import Case, Dataset, convert_dataset, find_dataset
from attnseg.datasets.arrange import WRITTEN_LAYOUTS, arrange
from attnseg.datasets.bids_names import kind_of_channel
from attnseg.datasets.copies import fitting_type
from attnseg.errors import DataError
from attnseg.images import Geometry, Image, read_case, read_labels, write_image, write_labels
from attnseg.spec import Region

NAMES = st.text("abcXYZ019_-. ", min_size=1, max_size=6).filter(
    lambda name: name[0].isalnum() and name[-1].isalnum()
)
CHANNELS = st.lists(st.sampled_from(["CT", "T1w", "FLAIR", "image"]), min_size=1, max_size=2)
LABELS = st.dictionaries(
    st.integers(-3, 300).filter(bool),
    st.text("abcdé ", min_size=1, max_size=8).map(lambda name: "x" + name.strip()),
    max_size=3,
).filter(lambda names: len(set(names.values())) == len(names))


@st.composite
def data_sets(draw):
    """Case → (channels `[C, I, J, K]`, mask, affine), channel names, label names."""
    channels = draw(CHANNELS.filter(lambda names: len(set(names)) == len(names)))
    labels = draw(LABELS)
    names = draw(
        st.lists(
            NAMES,
            min_size=1,
            max_size=3,
            unique_by=lambda name: "".join(filter(str.isalnum, name)).lower(),
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cases = {}
    for name in names:
        shape = tuple(int(n) for n in rng.integers(1, 6, 3))
        turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = turned * rng.uniform(0.3, 5, 3)
        affine[:3, 3] = rng.uniform(-500, 500, 3)
        scan = rng.normal(size=(len(channels), *shape)).astype(np.float32)
        scan[0] = np.round(1000 * scan[0])
        cases[name] = (scan, rng.choice([0, *labels], shape), affine)
    return cases, tuple(channels), labels


def save(folder: Path, made) -> Dataset:
    cases, channels, labels = made
    found = []
    for name, (scan, mask, affine) in cases.items():
        image = Image(scan, Geometry(mask.shape, affine))
        files = []
        for number, channel in enumerate(scan):
            files.append(folder / f"{name}_{number}.nrrd")
            write_image(files[-1], Image(channel[None], image.geometry))
        write_labels(folder / f"{name}.mha", mask, like=image, dtype=np.dtype(np.int16))
        found.append(Case(name, tuple(files), folder / f"{name}.mha"))
    found.sort(key=lambda case: case.name)
    return Dataset(folder, "table", tuple(found), channels, dict(sorted(labels.items())))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(made=data_sets(), layouts=st.lists(st.sampled_from(WRITTEN_LAYOUTS), min_size=1, max_size=3))
def test_any_way_round_gives_the_same_cases(made, layouts):
    with tempfile.TemporaryDirectory() as place:
        origin = save(Path(place, "source"), made)
        dataset = origin
        for step, layout in enumerate(layouts):
            folder = Path(place, f"{step}")
            report = convert_dataset(dataset, folder, layout=layout)
            assert (len(report.done), report.failed) == (len(origin.cases), {})
            kinds = [kind_of_channel(name) for name in dataset.channel_names]
            dataset = find_dataset(folder, images=kinds if layout == "bids" else ())
        assert dataset.layout == layouts[-1]
        assert dataset.problems == ()
        assert dataset.label_names == origin.label_names
        assert list(map(str.lower, dataset.channel_names)) == [
            *map(str.lower, origin.channel_names)
        ]
        for case in dataset.cases:
            scan, mask, affine = made[0][case.name]
            image = read_case(case.images, num_channels=len(scan))
            labels = read_labels(case.label)
            np.testing.assert_array_equal(image.array, scan)
            np.testing.assert_array_equal(labels.array[0], mask)
            for read in (image, labels):
                assert Geometry(mask.shape, affine).distance_mm(read.geometry) < 1e-3


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([-1024, 3071], np.int16),
        ([0, 40000], np.uint16),
        ([-1, 40000], np.int32),
        ([0, 70000], np.int32),
        ([0.5, 1], np.float32),
        ([np.nan, 1], np.float32),
        ([np.inf, 1], np.float32),
        ([0, 1e12], np.float32),
    ],
)
def test_numbers_are_stored_in_the_type_that_holds_them(values, kind):
    assert fitting_type(np.array(values, dtype=np.float32)) == kind


def case(name: str, *files: str) -> Case:
    return Case(name, tuple(Path(file) for file in files), Path(f"{name}.nii.gz"))


@pytest.mark.parametrize(
    ("dataset", "layout", "message"),
    [
        ({"channel_names": ("T1", "T1w")}, "bids", "T1, T1w would be T1w, T1w in BIDS"),
        ({"label_names": {1: "a", 2: "a"}}, "nnunet", "label name 'a' is a number or comes twice"),
        ({"label_names": {1: "12"}}, "nnunet", "label name '12' is a number or comes twice"),
        ({"label_names": {1: "background"}}, "nnunet", "'background' is a number or comes twice"),
        (
            {"regions": (Region(name="x", members=(1, 2), value=1),)},
            "bids",
            "no place for regions or labels_present",
        ),
        ({"cases": (case("a_1", "x"), case("a1", "y"))}, "bids", "'a_1' and 'a1' would both be"),
        ({"cases": (case("_", "x"),)}, "bids", "no letter or digit"),
        ({"cases": (case("a", "a.png"),)}, "bids", "pictures have no place in BIDS"),
        ({"cases": (case("a", "a.png", "b.png"),)}, "paired", "pictures of single channels stay"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(dataset, layout, message):
    given = {"cases": (case("a", "x.nii.gz"),), "channel_names": ("CT",), **dataset}
    with pytest.raises(DataError, match=message) as caught:
        arrange(Dataset(Path("data"), "paired", **given), layout=layout, suffix=".nii.gz")
    assert "\n" not in str(caught.value)


def test_pictures_stay_the_files_they_are(tmp_path, save_picture):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (5, 4, 3)).astype(np.uint8)
    for name in ("a", "b"):
        save_picture(tmp_path / "images" / f"{name}.jpg", pixels)
        save_picture(tmp_path / "labels" / f"{name}.png", pixels[..., 0] // 128)
    dataset = find_dataset(tmp_path)
    convert_dataset(dataset, tmp_path / "out", layout="nnunet")
    after = find_dataset(tmp_path / "out")
    assert (after.layout, after.channel_names) == ("nnunet", ("red", "green", "blue"))
    for before, same in zip(dataset.cases, after.cases, strict=True):
        assert same.images[0].name == f"{before.name}_0000.jpg"
        assert same.images[0].read_bytes() == before.images[0].read_bytes()
        assert same.label.read_bytes() == before.label.read_bytes()
