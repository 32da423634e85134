"""Masks of DICOM objects as label maps: names beside them, overlaps in maps of their own."""

import numpy as np
import pytest

from attnseg.datasets.drawn import write_drawn
from attnseg.errors import DataError, UsageError
from attnseg.images import Geometry, Image, read_labels


def label_map(*values: int) -> Image:
    array = np.array(values, dtype=np.uint8).reshape(1, -1, 1, 1)
    return Image(array, Geometry(array.shape[1:], np.diag([2.0, 3.0, 4.0, 1.0])))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_masks_and_names_are_written(tmp_path, suffix):
    one = (label_map(0, 1, 3), {1: "liver", 3: "spine"})
    assert write_drawn([one], tmp_path / f"a{suffix}") == [tmp_path / f"a{suffix}"]
    back = read_labels(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(back.array, one[0].array)
    assert back.geometry.distance_mm(one[0].geometry) == 0
    assert (tmp_path / "a.tsv").read_text() == ("index\tname\n0\tbackground\n1\tliver\n3\tspine\n")
    paths = write_drawn([one, (label_map(2, 2, 0), {2: "rib"})], tmp_path / f"b{suffix}")
    assert [path.name for path in paths] == [f"b-1{suffix}", f"b-2{suffix}"]
    assert read_labels(paths[1]).array.ravel().tolist() == [2, 2, 0]
    assert (tmp_path / "b-2.tsv").read_text() == "index\tname\n0\tbackground\n2\trib\n"


def test_nothing_is_written_over(tmp_path):
    target = tmp_path / "a.nii.gz"
    write_drawn([(label_map(0, 1), {1: "x"})], target)
    before = target.read_bytes()
    with pytest.raises(UsageError, match=r"is there already \(2 of 2 files are\)"):
        write_drawn([(label_map(1, 1), {1: "x"})], target)
    with pytest.raises(UsageError, match="over its own source"):
        write_drawn([(label_map(1, 1), {1: "x"})], target, sources=[target], overwrite=True)
    assert target.read_bytes() == before
    write_drawn([(label_map(1, 1), {1: "x"})], target, overwrite=True)
    assert read_labels(target).array.ravel().tolist() == [1, 1]
    with pytest.raises(DataError, match="no segment holds anything"):
        write_drawn([], tmp_path / "b.nii.gz")
