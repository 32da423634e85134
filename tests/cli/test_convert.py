"""`attnseg convert`: every layout into every layout and back, scans between formats."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from attnseg.datasets import Dataset, find_dataset, inspect_dataset
from attnseg.images import Geometry, Image, read_case, read_image, read_labels, write_image
from attnseg.images import write_labels as write_mask

LAYOUTS = ("paired", "msd", "nnunet", "bids")
NAMES = {3: "left organ", 7: "right organ"}


def oblique(rng: np.random.Generator, shape: tuple[int, ...]) -> Geometry:
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turned * rng.uniform(0.4, 3, 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return Geometry(shape, affine.astype(np.float32))


@pytest.fixture
def made(tmp_path) -> Path:
    """Two cases of two channels on oblique grids, nnU-Net's layout; one channel has fractions."""
    folder = tmp_path / "made"
    rng = np.random.default_rng(0)
    for name, shape in (("a_1", (5, 4, 3)), ("b-2", (3, 6, 2))):
        geometry = oblique(rng, shape)
        whole = rng.integers(-1000, 3000, shape).astype(np.int16)
        for number, array in enumerate((whole, rng.normal(size=shape).astype(np.float32))):
            write_image(
                folder / "imagesTr" / f"{name}_{number:04d}.nii.gz", Image(array[None], geometry)
            )
        write_mask(
            folder / "labelsTr" / f"{name}.nii.gz",
            rng.choice([0, 3, 7], shape),
            like=Image(whole[None], geometry),
            dtype=np.dtype(np.uint8),
        )
    labels = {"background": 0, **{name: value for value, name in NAMES.items()}}
    folder.joinpath("dataset.json").write_text(
        json.dumps({"channel_names": {"0": "T1w", "1": "FLAIR"}, "labels": labels})
    )
    return folder


def assert_same(one: Dataset, other: Dataset, names: dict[str, str] | None = None) -> None:
    """Cases, channels, label names, voxels and affines, to the bit."""
    assert [case.name for case in one.cases] == [case.name for case in other.cases]
    assert one.channel_names == other.channel_names
    assert one.label_names == other.label_names
    assert one.problems == other.problems == ()
    for case, same in zip(one.cases, other.cases, strict=True):
        for before, after in (
            (
                read_case(case.images, num_channels=one.num_channels),
                read_case(same.images, num_channels=one.num_channels),
            ),
            (read_labels(case.label), read_labels(same.label)),
        ):
            np.testing.assert_array_equal(before.array, after.array)
            np.testing.assert_allclose(
                before.geometry.affine, after.geometry.affine, rtol=0, atol=1e-6
            )


def found(folder: Path) -> Dataset:
    is_bids = (folder / "participants.tsv").exists()
    return find_dataset(folder, images=["T1w", "FLAIR"] if is_bids else ())


@pytest.mark.parametrize(("first", "second"), list(permutations(LAYOUTS, 2)))
def test_every_layout_into_every_layout_and_back(attnseg, made, first, second):
    before = sorted((path, path.read_bytes()) for path in made.rglob("*.*"))
    result = attnseg("convert", made, "one", "--layout", first)
    assert (result.code, result.err) == (0, "")
    assert "2 written to one" in result.out
    channels = ["--images", "T1w", "--images", "FLAIR"]
    steps = [("one", "two", second), ("two", "three", first), ("three", "four", "nnunet")]
    for source, target, layout in steps:
        is_bids = Path(source, "participants.tsv").exists()
        result = attnseg(
            "convert", source, target, "--layout", layout, *(channels if is_bids else [])
        )
        assert (result.code, result.err) == (0, ""), result
    origin = find_dataset(made)
    for name in ("one", "two", "three", "four"):
        assert_same(origin, found(Path(name)))
    assert find_dataset(Path("four")).layout == "nnunet"
    assert sorted((path, path.read_bytes()) for path in made.rglob("*.*")) == before


@pytest.mark.parametrize("name", ["nrrd", "mha"])
def test_formats_and_back(attnseg, made, name):
    assert attnseg("convert", made, "one", "--layout", "nnunet", "--format", name).code == 0
    assert {path.suffix for path in Path("one").rglob("*_0000.*")} == {f".{name}"}
    assert attnseg("convert", "one", "two", "--layout", "nnunet").code == 0
    assert_same(find_dataset(made), find_dataset(Path("one")))
    assert_same(find_dataset(made), find_dataset(Path("two")))
    result = attnseg("convert", made, "three", "--format", name)
    assert result.code == 1
    assert "2 channels in one file are written as NIfTI only" in result.err


def test_what_dataset_json_says_is_kept(attnseg, made):
    path = made / "dataset.json"
    content = json.loads(path.read_text())
    content["labels"] = {"background": 0, "whole": [3, 7], "core": 7, "ignore": 9}
    content["regions_class_order"] = [3, 7]
    content["labels_present"] = {"a_1": [7]}
    path.write_text(json.dumps(content))
    for layout in ("paired", "msd", "nnunet"):
        assert attnseg("convert", made, layout, "--layout", layout).code == 0
        before, after = find_dataset(made), find_dataset(Path(layout))
        assert (before.regions, before.ignore_label) == (after.regions, after.ignore_label)
        assert [case.labels_present for case in after.cases] == [(7,), None]
    result = attnseg("convert", made, "bids", "--layout", "bids")
    assert result.code == 1
    assert "no place for regions or labels_present" in result.err
    assert not Path("bids").exists()


def test_bids_obeys_its_rules(attnseg, made):
    assert attnseg("convert", made, "out", "--layout", "bids").code == 0
    files = {
        path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file()
    }
    assert files == {
        "README.md",
        "dataset_description.json",
        "participants.json",
        "participants.tsv",
        *(f"sub-{name}/anat/sub-{name}_{kind}.nii.gz" for name in ("a1", "b2")
          for kind in ("T1w", "FLAIR")),
        "derivatives/attnseg/dataset_description.json",
        "derivatives/attnseg/dseg.tsv",
        *(f"derivatives/attnseg/sub-{name}/anat/sub-{name}_dseg.nii.gz" for name in ("a1", "b2")),
    }  # fmt: skip
    raw, derivative = (
        json.loads(Path("out", folder, "dataset_description.json").read_text())
        for folder in ("", "derivatives/attnseg")
    )
    assert (raw["Name"], raw["DatasetType"], derivative["DatasetType"]) == (
        "made",
        "raw",
        "derivative",
    )
    assert raw["BIDSVersion"] == "1.10.0"
    assert derivative["GeneratedBy"][0]["Name"] == "attnseg"
    assert Path("out/derivatives/attnseg/dseg.tsv").read_text() == (
        "index\tname\n0\tbackground\n3\tleft organ\n7\tright organ\n"
    )
    assert Path("out/participants.tsv").read_text() == (
        "participant_id\tattnseg_case\nsub-a1\ta_1\nsub-b2\tb-2\n"
    )
    dtype = read_labels(Path("out/derivatives/attnseg/sub-a1/anat/sub-a1_dseg.nii.gz")).array.dtype
    assert dtype == np.uint8


def test_files_of_the_same_format_are_copied(attnseg, made):
    assert attnseg("convert", made, "out", "--layout", "bids").code == 0
    source = made / "imagesTr" / "a_1_0000.nii.gz"
    assert Path("out/sub-a1/anat/sub-a1_T1w.nii.gz").read_bytes() == source.read_bytes()


def test_a_case_that_fails_does_not_stop_the_others(attnseg, made):
    damaged = made / "labelsTr" / "a_1.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:60])
    result = attnseg("convert", made, "out")
    assert result.code == 3
    assert result.err.startswith("failed: a_1: ")
    assert result.err.count("\n") == 1
    assert "1 written to out, 1 failed" in result.out
    dataset = find_dataset(Path("out"))
    assert [case.name for case in dataset.cases] == ["b-2"]
    assert [path.name for path in Path("out/images").iterdir()] == ["b-2.nii.gz"]


def test_what_is_there_stays_without_overwrite(attnseg, made):
    assert attnseg("convert", made, "out").code == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*.*")}
    Path("out/images/b-2.nii.gz").unlink()
    result = attnseg("convert", made, "out")
    assert result.code == 2
    assert "is there already (4 of 5 files are); give --overwrite" in result.err
    assert not Path("out/images/b-2.nii.gz").exists()
    assert attnseg("convert", made, "out", "--overwrite").code == 0
    assert {path: path.read_bytes() for path in Path("out").rglob("*.*")} == before
    result = attnseg("convert", made, made, "--layout", "nnunet", "--overwrite")
    assert result.code == 2
    assert "would be written over its own source" in result.err


def test_patterns_and_tables_are_converted(attnseg, made):
    patterns = ["--images", "{case}_0000.nii.gz", "--images", "{case}_0001.nii.gz"]
    masks = ["--labels", "labelsTr/{case}.nii.gz"]
    assert attnseg("convert", made, "one", "--layout", "nnunet", *patterns, *masks).code == 0
    assert_same(find_dataset(made), find_dataset(Path("one")))
    rows = [
        f"{name},p,made/imagesTr/{name}_0000.nii.gz,made/labelsTr/{name}.nii.gz"
        for name in ("a_1", "b-2")
    ]
    Path("cases.csv").write_text("\n".join(["case,patient,T1w,label", *rows]))
    result = attnseg("convert", "cases.csv", "two")
    assert result.code == 0
    assert "which scans are of one patient is not kept" in result.out
    assert find_dataset(Path("two")).channel_names == ("T1w",)


def test_a_sheared_data_set_is_made_straight(attnseg, tmp_path):
    """As a tilted gantry leaves it: refused as it is, resampled when asked for."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.4
    image = Image(np.arange(240, dtype=np.float32).reshape(1, 6, 8, 5), Geometry((6, 8, 5), affine))
    for name in ("a", "b"):
        write_image(tmp_path / "data" / "images" / f"{name}.nii.gz", image)
        write_mask(
            tmp_path / "data" / "labels" / f"{name}.nii.gz",
            np.where(image.array[0] > 100, 3, 0),
            like=image,
            dtype=np.dtype(np.uint8),
        )
    result = attnseg("convert", "data", "out")
    assert result.code == 3
    assert "attnseg convert --straighten" in result.err
    assert not Path("out").exists()
    result = attnseg("convert", "data", "out", "--straighten")
    assert (result.code, result.err) == (0, "")
    assert "note: a: axes 11.3° off right angles: resampled onto a straight grid" in result.out
    for facts in inspect_dataset(find_dataset(Path("out"))):
        assert facts.findings == ()
        assert set(facts.label_counts) == {0, 3}
    scan = attnseg("convert", "data/images/a.nii.gz", "a.nrrd", "--straighten")
    assert scan.code == 0
    assert read_image(Path("a.nrrd")).geometry.shear_degrees < 1e-6


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_one_scan(attnseg, made, suffix):
    for number, dtype in ((0, np.int16), (1, np.float32)):
        source = made / "imagesTr" / f"a_1_{number:04d}.nii.gz"
        target = Path(f"out{number}{suffix}")
        assert attnseg("convert", source, target).code == 0
        before, after = read_image(source), read_image(target)
        np.testing.assert_array_equal(before.array, after.array)
        np.testing.assert_allclose(before.geometry.affine, after.geometry.affine, atol=1e-6)
        assert stored_type(target) == dtype


def stored_type(path: Path) -> np.dtype:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).dtype


def test_a_folder_of_scans(attnseg, made):
    (made / "imagesTr" / "broken.nii.gz").write_bytes(b"no")
    result = attnseg("convert", made / "imagesTr", "out", "--format", "nrrd")
    assert result.code == 3
    assert result.err.startswith("failed: broken.nrrd: ")
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a_1_0000.nrrd",
        "a_1_0001.nrrd",
        "b-2_0000.nrrd",
        "b-2_0001.nrrd",
    ]
    result = attnseg("convert", made / "imagesTr", "out.nii.gz")
    assert (result.code, "5 scans do not fit one file" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "dicom"], "--format dicom: unknown; use nifti, nrrd, mha"),
        (["--layout", "csv"], "--layout csv: unknown; use paired, msd, nnunet, bids"),
    ],
)
def test_unknown_choices_are_refused(attnseg, made, options, message):
    result = attnseg("convert", made, "out", *options)
    assert result.code == 2
    assert message in result.err
    result = attnseg("convert", made, "out.nrrd")
    assert (result.code, "a data set is written to a folder" in result.err) == (2, True)


def test_hippocampus_goes_round(attnseg, real_data, tmp_path):
    """Decathlon → BIDS → nnU-Net → paired, four cases."""
    source = tmp_path / "hippo"
    content = json.loads((real_data / "hippocampus" / "dataset.json").read_text())
    content["training"] = content["training"][:4]
    source.mkdir()
    (source / "dataset.json").write_text(json.dumps(content))
    for name in ("imagesTr", "labelsTr"):
        (source / name).symlink_to(real_data / "hippocampus" / name)
    origin = find_dataset(source)
    steps = [(source, "bids"), (Path("bids"), "nnunet"), (Path("nnunet"), "paired")]
    for step, layout in steps:
        result = attnseg("convert", step, layout, "--layout", layout)
        assert (result.code, result.err) == (0, "")
        assert ("note: BIDS has no suffix MRI" in result.out) == (layout == "bids")
        dataset = find_dataset(Path(layout))
        assert Path(layout, ".bidsignore").exists() == (layout == "bids")
        assert [case.name for case in dataset.cases] == [case.name for case in origin.cases]
        assert dataset.label_names == {1: "Anterior", 2: "Posterior"}
        for before, after in zip(inspect_dataset(origin), inspect_dataset(dataset), strict=True):
            assert (before.label_digest, before.intensity) == (after.label_digest, after.intensity)
            assert (before.spacing_mm, before.orientation) == (after.spacing_mm, after.orientation)


def test_head_and_neck_ct_becomes_decathlon(attnseg, real_data, tmp_path):
    source = tmp_path / "head"
    for folder in ("imagesTr", "labelsTr"):
        (source / folder).mkdir(parents=True)
        for path in sorted((real_data / "head_neck_ct" / folder).glob("*.nii.gz"))[:1]:
            (source / folder / path.name).symlink_to(path)
    metadata = real_data / "head_neck_ct" / "dataset.json"
    (source / "dataset.json").write_text(metadata.read_text())
    result = attnseg("convert", source, "msd", "--layout", "msd")
    assert (result.code, result.err) == (0, "")
    assert_same(find_dataset(source), find_dataset(Path("msd")))


@pytest.mark.parametrize("count", [5, 6])
def test_what_many_cases_have_in_common_is_told_once(attnseg, tmp_path, count):
    """Photographs of a phone, each of which says that it is stored turned."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (9, 7, 3), dtype=np.uint8)
        for folder, saved in (("images", pixels), ("labels", (pixels[..., 0] > 99).T[:, ::-1])):
            path = tmp_path / "photos" / folder / f"p{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            turned = {"exif": exif} if folder == "images" else {}
            PIL.Image.fromarray(saved.astype(np.uint8)).save(path, **turned)
    result = attnseg("convert", "photos", "out", "--layout", "nnunet")
    assert result.code == 0
    notes = [line for line in result.out.splitlines() if line.startswith("note: ")]
    assert (
        notes.pop()
        == "note: label value(s) 1 occur in the masks but were not declared; named label 1"
    )
    assert len(notes) == (count if count == 5 else 1)
    start = "note: 6 cases, such as p0: " if count == 6 else "note: p0: "
    assert notes[0].startswith(start + "its EXIF orientation is 6; it was read as viewers show it")
    copy = tmp_path / "out" / "imagesTr" / "p3_0000.png"
    assert copy.read_bytes() == (tmp_path / "photos" / "images" / "p3.png").read_bytes()


def test_another_data_set_in_the_folder_is_not_mixed_in(attnseg, made, tmp_path):
    """Nothing is skipped because it is there, and nothing that is there becomes part of the new."""
    stranger = tmp_path / "out" / "images" / "a_1.nrrd"
    write_image(stranger, Image(np.zeros((1, 2, 2, 2), np.float32), Geometry((2, 2, 2), np.eye(4))))
    result = attnseg("convert", made, "out", "--layout", "paired")
    assert result.code == 2
    assert "a_1.nrrd: lies where the new data set goes, and would become part of it" in result.err
    assert not Path("out/labels").exists()
    result = attnseg("convert", made, "out", "--overwrite")
    assert result.code == 0
    assert "note: 1 file(s) of something else lie among those of the data set" in result.out


def test_a_case_that_fails_tells_what_is_left_of_it(attnseg, made):
    assert attnseg("convert", made, "out").code == 0
    damaged = made / "labelsTr" / "a_1.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:60])
    result = attnseg("convert", made, "out", "--overwrite")
    assert result.code == 3
    assert "a_1: out/images/a_1.nii.gz is left of an earlier conversion" in result.out
