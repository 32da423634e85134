"""From a DICOM series to a DICOM segmentation: what was predicted lies where the NIfTI has it."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from source_series import positions, write_series
from three_readers import assert_same_places, by_dcmqi, by_highdicom, by_pydicom

from attnseg.errors import DataError
from attnseg.images import Geometry, find_source
from attnseg.images.dicom import label_maps, read_rtstruct, read_seg
from attnseg.inference import Job, MaskFormat, Predictor, predict
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec

SERIES = ("11_HCropVolume", "13_HCropVolume", "14_HCropVolume")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Untrained, loud enough that all three classes win somewhere."""
    torch.manual_seed(1)
    network = AttentionUNet(3, 1, 3, channels=(4, 6), strides=(2,))
    torch.nn.init.normal_(network.heads[0].weight, std=3.0)
    labels = [(0, "background"), (7, "left hippocampus"), (205, "right hippocampus")]
    spec = ModelSpec.model_validate(
        {
            "architecture": network.architecture,
            "preprocessing": {"spacing_mm": (1, 1, 1), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["MRI"],
            "labels": [{"value": value, "name": name} for value, name in labels],
            "patch": (24, 32, 24),
        }
    )
    path = tmp_path / "model.safetensors"
    save_model(path, network, spec)
    return path


@pytest.mark.slow
def test_predicted_segmentations_by_three_readers(
    real_data: Path, tmp_path: Path, model: Path
) -> None:
    folder = real_data / "edge" / "dicom" / "hippocampus_series"
    for name in ("auto", "dicom-seg", "rtstruct"):
        outcomes = predict([folder], tmp_path / name, model=model, job=Job(MaskFormat(name)))
        assert [(each.name, each.state) for each in outcomes] == [(one, "done") for one in SERIES]
    for name in SERIES:
        nifti = nibabel.load(tmp_path / "auto" / f"{name}.nii.gz")
        labels, geometry = np.asarray(nifti.dataobj), Geometry(nifti.shape, nifti.affine)
        assert set(np.unique(labels)) == {0, 7, 205}
        seg = tmp_path / "dicom-seg" / f"{name}.seg.dcm"
        assert_same_places(by_highdicom(seg), labels, geometry)
        assert_same_places(by_pydicom(seg), labels, geometry)
        assert_same_places(by_dcmqi(seg, tmp_path / f"dcmqi-{name}"), labels, geometry)
        # Back as label maps of the original values, on the series' own grid.
        scan = Predictor.load(model).read(folder / name)
        structures = tmp_path / "rtstruct" / f"{name}.rtstruct.dcm"
        for found in (read_seg(seg, like=scan.geometry), read_rtstruct(structures, like=scan)):
            (back,) = label_maps(found)
            for value in (7, 205):
                np.testing.assert_allclose(
                    positions(back.array[0] == value, back.geometry.affine),
                    positions(labels == value, geometry.affine),
                    atol=1e-3,
                )


def test_a_folder_or_an_archive_of_dicom_from_python(real_data: Path, model: Path) -> None:
    folder = real_data / "edge" / "dicom" / "hippocampus_series" / SERIES[0]
    predictor = Predictor.load(model)
    found = predictor.predict(folder)
    assert found.labels.shape == (34, 50, 40)
    source, _ = find_source(folder)
    np.testing.assert_array_equal(predictor.predict(predictor.read(source)).labels, found.labels)


def test_a_series_with_files_that_cannot_be_read_has_no_mask(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The case `series_with_unreadable_files`: good, links and empty_dcm."""
    grid = Geometry((26, 34, 20), np.diag([-1.0, -1.0, 1.0, 1.0]))
    values = np.random.default_rng(0).integers(0, 100, grid.shape).astype(np.int16)
    for name in ("good", "links", "empty_dcm"):
        write_series(tmp_path / "all" / name, grid, values=values)
    for path in sorted((tmp_path / "all" / "good").iterdir()):
        path.rename(path.with_suffix(""))
    for path in sorted((tmp_path / "all" / "links").iterdir())[15:]:
        path.unlink()
        path.symlink_to(f"../.git/annex/objects/x9/25/{path.name}")
    for path in sorted((tmp_path / "all" / "empty_dcm").iterdir())[15:]:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="5 of 20 files cannot be read"):
        predict([tmp_path / "all" / "links"], tmp_path / "out", model=model)
    outcomes = predict([tmp_path / "all"], tmp_path / "out", model=model)
    found = {outcome.name: (outcome.state, outcome.reason[-160:]) for outcome in outcomes}
    assert found["good"] == ("done", "")
    assert nibabel.load(tmp_path / "out" / "good.nii.gz").shape == grid.shape
    for name, helps in (("links", "`git annex get`"), ("empty_dcm", "copy each again")):
        assert found[name][0] == "failed"
        assert helps in found[name][1]
        assert not (tmp_path / "out" / f"{name}.nii.gz").exists()
    assert capsys.readouterr().err.count("5 of 20 files cannot be read") == 4, "and once more each"
