"""Names of scans, and cases of several channel files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnseg.errors import DataError
from attnseg.files import atomic_path
from attnseg.images import is_picture, is_scan, read_case, split_channel, strip_suffix

CHANNELS = [
    np.full((4, 3, 2), value, dtype="i2") + np.eye(4, 3, dtype="i2")[..., None]
    for value in (10, 20, 30)
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.nii", True),
        ("a.nii.gz", True),
        ("a.b_0000.nii.gz", True),
        ("a.png", True),
        ("a_0000.PNG", True),
        ("a.jpg", True),
        ("a.JPEG", True),
        ("a.Tif", True),
        ("a.tiff", True),
        ("a.gif", False),
        ("a.png.txt", False),
        (".partial-1-a.png", False),
        ("a.nrrd", True),
        ("a.NRRD", True),
        ("a.mha", True),
        ("a.mgz", True),
        ("a.hdr", True),
        ("a.img", False),
        ("a.mnc", False),
        ("a.gz", False),
        ("a.nii.gz.txt", False),
        ("nii", False),
        ("._a.nii.gz", False),
        (".nii", False),
    ],
)
def test_is_scan(name: str, expected: bool) -> None:
    assert is_scan(Path("folder.nii") / name) is expected


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz", "a.b.nii.gz", "mask.png"])
def test_a_temporary_file_is_never_a_scan(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_bytes(b"half a mask")
        assert temporary.name.endswith(name)
        assert [path for path in tmp_path.iterdir() if is_scan(path)] == []
    assert [path.name for path in tmp_path.iterdir() if is_scan(path)] == [name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("case_01.nii.gz", "case_01"),
        ("case_01.nii", "case_01"),
        ("case.v2.nii.gz", "case.v2"),
        ("case_01.seg.nrrd", "case_01.seg"),
        ("case_01.mgz", "case_01"),
        ("case_01.hdr", "case_01"),
        ("case_01", "case_01"),
        ("nii.nii.nii.gz", "nii.nii"),
        ("case_01.png", "case_01"),
        ("case.v2.TIFF", "case.v2"),
        ("a.nii.jpg", "a.nii"),
        ("png", "png"),
    ],
)
def test_strip_suffix(name: str, expected: str) -> None:
    assert strip_suffix(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", True), ("a.JPG", True), (".partial-1-a.png", True), ("a.nii", False), ("a", False)],
)
def test_is_picture(name: str, expected: bool) -> None:
    assert is_picture(Path(name)) is expected


def test_channels_of_pictures_are_named_like_those_of_volumes() -> None:
    assert split_channel(strip_suffix("case_0001.png")) == ("case", 1)
    assert split_channel(strip_suffix("case_0001.nii.gz")) == ("case", 1)
    assert split_channel(strip_suffix("case_01.png")) is None


def channel_files(folder: Path, nifti: Any) -> tuple[Path, ...]:
    return tuple(
        nifti(folder / f"case_{index:04d}.nii.gz", channel)
        for index, channel in enumerate(CHANNELS)
    )


@pytest.mark.parametrize("num_channels", [None, 3])
def test_channel_files_are_stacked_in_order(
    tmp_path: Path, nifti: Any, num_channels: int | None
) -> None:
    paths = channel_files(tmp_path, nifti)
    case = read_case(paths, num_channels=num_channels)
    np.testing.assert_array_equal(case.array, np.stack(CHANNELS))
    assert case.array.dtype == np.float32
    assert case.path == paths[0]
    swapped = read_case(paths[::-1])
    np.testing.assert_array_equal(swapped.array, np.stack(CHANNELS[::-1]))


def test_a_single_file_of_one_or_of_many_channels(tmp_path: Path, nifti: Any) -> None:
    one = nifti(tmp_path / "one.nii", CHANNELS[0])
    np.testing.assert_array_equal(read_case((one,)).array, CHANNELS[0][None])
    many = nifti(tmp_path / "many.nii", np.stack(CHANNELS, axis=-1))
    np.testing.assert_array_equal(read_case((many,), num_channels=3).array, np.stack(CHANNELS))


@pytest.mark.parametrize("num_channels", [1, 2, 4])
def test_wrong_number_of_channels(tmp_path: Path, nifti: Any, num_channels: int) -> None:
    paths = channel_files(tmp_path, nifti)
    with pytest.raises(DataError, match=rf"_0000\.nii\.gz: 3 channel.*{num_channels} are expected"):
        read_case(paths, num_channels=num_channels)


def test_one_file_where_two_channels_are_expected(tmp_path: Path, nifti: Any) -> None:
    path = nifti(tmp_path / "one.nii", CHANNELS[0])
    with pytest.raises(DataError, match=r"one\.nii: 1 channel\(s\) where 2 are expected"):
        read_case((path,), num_channels=2)


@pytest.mark.parametrize("shape", [(4, 3, 2), (4, 3, 3)])
def test_channels_on_different_grids_are_refused(
    tmp_path: Path, nifti: Any, shape: tuple[int, int, int]
) -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    moved = affine.copy()
    moved[0, 3] = 0.0 if shape == (4, 3, 3) else 0.2
    paths = (
        nifti(tmp_path / "a_0000.nii", CHANNELS[0], affine=affine),
        nifti(tmp_path / "a_0001.nii", np.zeros(shape, dtype="i2"), affine=moved),
    )
    with pytest.raises(DataError, match=r"a_0001\.nii: its grid differs .*a_0000\.nii") as error:
        read_case(paths)
    assert "\n" not in str(error.value)


def test_a_rounding_of_the_affine_is_the_same_grid(tmp_path: Path, nifti: Any) -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    nudged = affine.copy()
    nudged[0, 3] = 1e-3
    paths = (
        nifti(tmp_path / "a_0000.nii", CHANNELS[0], affine=affine),
        nifti(tmp_path / "a_0001.nii", CHANNELS[1], affine=nudged),
    )
    case = read_case(paths)
    np.testing.assert_array_equal(case.array, np.stack(CHANNELS[:2]))
    assert np.array_equal(case.geometry.affine, affine)
