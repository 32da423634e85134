"""DICOM folders of one name: a mask is of the series that it was made of."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import Dataset, dcmread
from source_series import make_series

from attnseg.errors import UsageError
from attnseg.images import Geometry, find_source, write_labels
from attnseg.images.dicom import referenced_series
from attnseg.images.identity import compare, identify
from attnseg.inference import Job, MaskFormat, predict
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec

GRID = Geometry((10, 9, 5), np.diag([1.0, 1.2, 2.0, 1.0]))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Predict into one folder: the only state, and what was said."""
    torch.manual_seed(0)
    network = AttentionUNet(3, 1, 2, channels=(4, 6), strides=(2,))
    spec = ModelSpec.model_validate(
        {
            "architecture": network.architecture,
            "preprocessing": {"spacing_mm": (1, 1, 1), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["CT"],
            "labels": [{"value": 0, "name": "background"}, {"value": 1, "name": "liver"}],
            "patch": (8, 8, 8),
        }
    )
    model = tmp_path / "model.safetensors"
    save_model(model, network, spec)

    def call(place: Path, masks: MaskFormat | None = None, **settings) -> tuple[str, str]:
        job = Job(masks or MaskFormat())
        (outcome,) = predict([place], tmp_path / "out", model=model, job=job, **settings)
        return outcome.state, capsys.readouterr().err

    return call


def series(folder: Path, seed: int = 0, *, geometry: Geometry = GRID, **tags: object) -> Path:
    values = np.random.default_rng(seed).integers(0, 400, geometry.shape).astype(np.int16)

    def change(image: Dataset, index: int) -> None:
        for keyword, value in tags.items():
            setattr(image, keyword, value)

    make_series(folder, geometry, values=values, change=change)
    return folder


@pytest.mark.parametrize("masks", ["auto", "dicom-seg", "rtstruct"])
def test_folders_of_one_name(run, tmp_path: Path, masks: str) -> None:
    a, b = (series(tmp_path / patient / "DICOM", seed) for seed, patient in enumerate("AB"))
    assert run(a, MaskFormat(masks))[0] == "done"
    assert run(a, MaskFormat(masks))[0] == "skipped"
    uids = [find_source(each)[0].uid for each in (a, b)]
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for settings in ({}, {"overlap": 0.25}, {"overwrite": True}):
        with pytest.raises(UsageError) as caught:
            run(b, MaskFormat(masks), **settings)
        for each in (str(a), str(b), *uids):
            assert each in str(caught.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_series_of_one_folder(run, tmp_path: Path) -> None:
    source = series(tmp_path / "both", 0, SeriesNumber=3)
    for path in series(tmp_path / "two", 1, SeriesNumber=4).iterdir():
        shutil.copy2(path, source / f"two-{path.name}")
    assert run(source, series="3")[0] == "done"
    assert run(source, series="3")[0] == "skipped"
    with pytest.raises(UsageError, match="is another scan"):
        run(source, series="4")


def test_a_folder_that_was_exported_anew(run, tmp_path: Path) -> None:
    """Under new UIDs, or with other pixels under the old ones."""
    place = series(tmp_path / "DICOM", 0, SeriesInstanceUID="1.2.3")
    assert run(place)[0] == "done"
    shutil.rmtree(place)
    series(place, 1, SeriesInstanceUID="1.2.4")
    state, said = run(place)
    assert state == "done"
    assert "has changed" in said
    one = sorted(place.iterdir())[0]
    image = dcmread(one)
    image.PixelData = bytes(len(image.PixelData))
    image.save_as(one)
    state, said = run(place)
    assert state == "done"
    assert "has changed" in said
    assert run(place)[0] == "skipped"


def test_a_series_that_was_moved_or_packed_is_the_same(run, tmp_path: Path) -> None:
    place = series(tmp_path / "DICOM")
    assert run(place)[0] == "done"
    other = tmp_path / "archive" / "DICOM"
    other.mkdir(parents=True)
    for number, path in enumerate(sorted(place.iterdir())):
        shutil.copy(path, other / f"IM{9 - number}")
    assert run(other)[0] == "skipped"
    with zipfile.ZipFile(tmp_path / "DICOM.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in place.iterdir():
            archive.write(path, path.name)
    assert run(tmp_path / "DICOM.zip")[0] == "skipped"
    line = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[-1])
    assert line["scan"]["sources"][0]["path"] == "../DICOM.zip"


def test_a_file_of_a_series_that_changes_is_seen_without_opening_it(tmp_path: Path) -> None:
    """Even where another file is the newest, and the sizes are the same."""
    place = series(tmp_path / "DICOM")
    files = sorted(place.iterdir())
    known = identify(find_source(place)[0])
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    changed = next(path for path in files if path != newest)
    image, state = dcmread(changed), changed.stat()
    image.PixelData = bytes(len(image.PixelData))
    image.save_as(changed)
    os.utime(changed, ns=(0, state.st_mtime_ns - 1))
    likeness, now = compare(known, find_source(place)[0])
    assert (now.size, now.mtime_ns) == (known.size, known.mtime_ns)
    assert likeness == "changed"


@pytest.mark.parametrize("masks", ["dicom-seg", "rtstruct"])
def test_an_object_that_refers_to_another_series_is_made_anew(
    run, tmp_path: Path, masks: str
) -> None:
    place = series(tmp_path / "DICOM")
    assert run(place, MaskFormat(masks))[0] == "done"
    (written,) = (tmp_path / "out").glob("DICOM.*.dcm")
    uid = find_source(place)[0].uid
    assert referenced_series(written) == uid
    other = make_series(tmp_path / "other", GRID, values=np.zeros(GRID.shape, np.int16))
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2:8, 2:7, 1:4] = 1
    write_labels(written, labels, like=other, dtype=np.dtype(np.uint8), names={1: "liver"})
    assert referenced_series(written) != uid
    state, said = run(place, MaskFormat(masks))
    assert state == "done"
    assert f"{written.name} refers to series " in said
    assert f"and the scan is series {uid}" in said
    assert referenced_series(written) == uid
    assert run(place, MaskFormat(masks))[0] == "skipped"
