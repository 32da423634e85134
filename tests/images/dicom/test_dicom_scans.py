"""What the user typed → DICOM scans: folders, folders of folders, archives, discs, single files."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid
from source_series import write_series

from attnseg.errors import DataError
from attnseg.images import Geometry, Series
from attnseg.inference.sources import find_scans

GRID = Geometry((5, 4, 3), np.diag([-1.0, -1.0, 2.0, 1.0]))
VALUES = np.zeros(GRID.shape, dtype=np.int16)


def named(place: Path, series: str | None = None) -> dict[str, int]:
    """Name of each scan → how many files it has."""
    found = {}
    for scan in find_scans([place], num_channels=1, series=series):
        (source,) = scan.paths
        found[scan.name] = len(source.files) if isinstance(source, Series) else 0
    return found


def test_a_folder_an_archive_and_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "p1"
    write_series(folder, GRID, values=VALUES)
    first = sorted(folder.iterdir())[0]
    with zipfile.ZipFile(tmp_path / "p2.zip", "w") as archive:
        archive.write(first, "deep/below/1")
    assert named(folder) == {"p1": 3}
    assert named(tmp_path / "p2.zip") == {"p2": 1}
    assert named(first) == {first.stem: 1}
    bare = first.rename(tmp_path / "IM0001")
    assert named(bare) == {"IM0001": 1}


def test_each_folder_of_a_cohort_is_a_scan_and_a_bad_one_stops_no_other(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "study" / "series", GRID, values=VALUES)
    write_series(tmp_path / "b", GRID, values=VALUES)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read me.txt").write_text("nothing to see")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.dcm").write_bytes(bytes(128) + b"DICM\2\0")
    assert named(tmp_path) == {"a": 3, "b": 3, "c": 0}
    reasons = [scan.reason for scan in find_scans([tmp_path], num_channels=1)]
    assert reasons[:2] == ["", ""]
    assert reasons[2].startswith(str(tmp_path / "c"))


def test_the_directory_of_a_disc_is_no_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "PAT1", GRID, values=VALUES)
    write_series(tmp_path / "PAT2", GRID, values=VALUES)
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.FileSetID = "DISC"
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    assert named(tmp_path) == {"PAT1": 3, "PAT2": 3}


def test_several_series_are_told(tmp_path: Path) -> None:
    short = Geometry((5, 4, 2), GRID.affine)
    write_series(tmp_path / "p" / "1", GRID, values=VALUES)
    write_series(tmp_path / "p" / "2", short, values=VALUES[..., :2], change=number_four)
    (scan,) = find_scans([tmp_path], num_channels=1)
    assert scan.notes[0].startswith("2 series: CT, series 3, 3 images; CT, series 4, 2 images")
    assert named(tmp_path, "4") == {"p": 2}


def number_four(image: Dataset, index: int) -> None:
    image.SeriesNumber = 4


def test_one_of_several_places_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    write_series(tmp_path / "good", GRID, values=VALUES)
    (tmp_path / "bad.zip").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"bad\.zip: no zip archive"):
        find_scans([tmp_path / "bad.zip"], num_channels=1)
    bad, good = find_scans([tmp_path / "bad.zip", tmp_path / "good"], num_channels=1)
    assert (bad.name, good.name, good.reason) == ("bad", "good", "")
    assert bad.reason.startswith(f"{tmp_path / 'bad.zip'}: ")
    assert len(bad.reason.splitlines()) == 1


def test_patterns_match_folders_archives_and_bare_files(tmp_path: Path) -> None:
    write_series(tmp_path / "p1", GRID, values=VALUES)
    first = next((tmp_path / "p1").iterdir())
    with zipfile.ZipFile(tmp_path / "p2.zip", "w") as archive:
        archive.write(first, "1")
    shutil.copy(first, tmp_path / "p3")
    (tmp_path / "p4.txt").write_text("nothing to see")
    (tmp_path / "p5").mkdir()
    (tmp_path / "p6.nii.gz").write_bytes(b"x")
    assert named(tmp_path / "p*") == {"p1": 3, "p2": 1, "p3": 1, "p6": 0}
    twice = find_scans([tmp_path / "p1", tmp_path / "p*1"], num_channels=1)
    assert [scan.name for scan in twice] == ["p1"]
