"""DICOM on the command line: series in, objects out, and objects back as label maps."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

DICOM = Path("edge") / "dicom"


def nrrd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values and the mm positions (LPS) of every labelled voxel, in an order of their own."""
    image = sitk.ReadImage(str(path))
    labels = sitk.GetArrayFromImage(image)
    index = np.argwhere(labels)
    directions = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    places = index[:, ::-1] @ directions.T + image.GetOrigin()
    order = np.lexsort(np.round(places, 2).T)
    return labels[tuple(index.T)][order], places[order]


@pytest.mark.parametrize(
    ("source", "answers"),
    [
        ("liver.dcm", ["liver_seg.nrrd"]),
        ("partial_overlaps.dcm", [f"partial_overlaps-{number}.nrrd" for number in (1, 2, 3)]),
        ("sparse-labelmap-noppv.dcm", ["sparse_labelmap_noppv_seg.nrrd"]),
        ("sparse-labelmap-ppv5.dcm", ["sparse_labelmap_ppv5_seg.nrrd"]),
        ("23x38x3/seg/label.seg", ["23x38x3/nrrd/label.nrrd"]),
        ("24x38x3/seg/label.seg", ["24x38x3/nrrd/label.nrrd"]),
    ],
)
def test_segmentations_become_the_label_maps_beside_them(
    attnseg, real_data: Path, tmp_path: Path, source: str, answers: list[str]
) -> None:
    folder = real_data / DICOM / "dcmqi"
    result = attnseg("convert", folder / source, tmp_path / "out.nrrd")
    assert result.code == 0, result.err
    written = sorted(tmp_path.glob("out*.nrrd"))
    assert len(written) == len(answers)
    for path, answer in zip(written, answers, strict=True):
        values, places = nrrd(path)
        expected, where = nrrd(folder / answer)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_allclose(places, where, atol=1e-3)
        assert path.with_suffix(".tsv").read_text().startswith("index\tname\n0\tbackground\n")


def test_a_series_becomes_any_volume(attnseg, real_data: Path, tmp_path: Path) -> None:
    folder = real_data / DICOM / "dcmqi" / "ct-3slice"
    for name in ("ct.nii.gz", "ct.nrrd", "ct.mha"):
        assert attnseg("convert", folder, tmp_path / name).code == 0
        image = sitk.ReadImage(str(tmp_path / name))
        assert image.GetPixelIDTypeAsString() == "16-bit signed integer"
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    expected = sitk.GetArrayFromImage(reader.Execute())
    for name in ("ct.nii.gz", "ct.nrrd", "ct.mha"):
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name)))
        np.testing.assert_array_equal(found, expected)


def test_a_structure_set_needs_its_scan(attnseg, real_data: Path, tmp_path: Path) -> None:
    from attnseg.images import find_source, read_image
    from attnseg.images.dicom import write_rtstruct

    series = real_data / DICOM / "hippocampus_series" / "11_HCropVolume"
    scan = read_image(find_source(series)[0])
    labels = np.zeros(scan.geometry.shape, dtype=np.uint8)
    labels[5:20, 10:30, 8:30] = 3
    write_rtstruct(tmp_path / "a.rtstruct.dcm", labels, like=scan, names={3: "left hippocampus"})
    alone = attnseg("convert", tmp_path / "a.rtstruct.dcm", tmp_path / "out")
    assert alone.code == 2
    assert "--like" in alone.err
    assert alone.err.count("\n") == 1
    both = attnseg("convert", tmp_path / "a.rtstruct.dcm", tmp_path / "out", "--like", series)
    assert both.code == 0, both.err
    values, _ = nrrd(tmp_path / "out" / "a.nii.gz")
    assert (len(values), set(values.tolist())) == (15 * 20 * 22, {3})
    assert (tmp_path / "out" / "a.tsv").read_text().endswith("3\tleft hippocampus\n")


def test_nothing_is_written_over_unasked(attnseg, real_data: Path, tmp_path: Path) -> None:
    source = real_data / DICOM / "dcmqi" / "liver.dcm"
    (tmp_path / "out.nii.gz").write_bytes(b"mine")
    result = attnseg("convert", source, tmp_path / "out.nii.gz")
    assert result.code == 2
    assert (tmp_path / "out.nii.gz").read_bytes() == b"mine"
    assert attnseg("convert", source, tmp_path / "out.nii.gz", "--overwrite").code == 0


@pytest.fixture
def study(real_data: Path, tmp_path: Path) -> Path:
    """A folder of two patients: two series of the first, and none that is whole of the second."""
    hippocampus = real_data / DICOM / "hippocampus_series"
    for series in ("11_HCropVolume", "13_HCropVolume"):
        shutil.copytree(hippocampus / series, tmp_path / "study" / "p1" / series)
    (tmp_path / "study" / "p2").mkdir()
    (tmp_path / "study" / "p2" / "a.dcm").write_bytes(b"no DICOM at all")
    return tmp_path / "study"


def test_convert_tells_which_series_it_took_and_what_it_could_not_read(
    attnseg, study: Path, tmp_path: Path
) -> None:
    result = attnseg("convert", study, tmp_path / "out")
    assert result.code == 3
    assert "note: p1: 2 series: " in result.out
    assert "took the largest, MR, 40 images" in result.out
    assert result.err.startswith("failed: p2: ")
    assert str(study / "p2") in result.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p1.nii.gz"]


def test_check_says_why_a_place_cannot_be_read(attnseg, study: Path) -> None:
    converted = attnseg("convert", study, study.parent / "out").err
    reason = converted.removeprefix("failed: p2: ").split("; ")[0].strip()
    result = attnseg("check", study, "--json", study.parent / "check.json")
    assert result.code == 1
    findings = json.loads((study.parent / "check.json").read_text())["findings"]
    fatal = [each for each in findings if each["severity"] == "fatal"]
    assert [each["case"] for each in fatal] == ["p2"]
    assert fatal[0]["problem"] == reason.replace(f"{study.parent}/", "")
