"""Preprocessed cases on disk."""

import errno
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from attnseg.datasets import find_dataset, fingerprint, inspect_dataset
from attnseg.errors import DataError, DiskFullError
from attnseg.images import read_image, read_labels
from attnseg.preprocessing import preprocess, preprocess_labels
from attnseg.training import cache
from attnseg.training.cache import cache_cases
from attnseg.training.plan import make_plan


@pytest.fixture
def planned(toy, small_config):
    data = find_dataset(toy)
    config = small_config(preprocessing__spacing_mm=[2.0, 1.5, 2.0])
    return data, make_plan(config, data, fingerprint(inspect_dataset(data)), device="cpu").spec


def test_the_cache_holds_what_preprocessing_gives(planned, tmp_path):
    data, spec = planned
    done = []
    cached = cache_cases(data.cases[:2], spec, tmp_path / "cache", on_case=done.append)
    assert done == ["case0", "case1"]
    for case, files in zip(data.cases, cached, strict=False):
        image, label, foreground = files.load()
        assert isinstance(image, np.memmap)
        expected, _ = preprocess(read_image(case.images[0]), spec.preprocessing)
        assert torch.equal(torch.from_numpy(np.array(image)), expected)
        classes = preprocess_labels(
            read_labels(case.label), spec.preprocessing, label_values=spec.label_values
        )
        np.testing.assert_array_equal(label, classes.numpy())
        assert set(np.unique(label)) == {0, 1, 2}
        np.testing.assert_array_equal(label[tuple(foreground[:, 1:].T)], foreground[:, 0])


def test_a_complete_case_is_not_done_again_and_an_incomplete_one_is(planned, tmp_path):
    data, spec = planned
    first, second = cache_cases(data.cases[:2], spec, tmp_path)
    first.foreground.unlink()  # as if the process had been killed before the last file
    first.image.write_bytes(b"half")
    stamp = second.image.stat().st_mtime_ns
    cache_cases(data.cases[:2], spec, tmp_path)
    assert first.load()[0].dtype == np.float32
    assert second.image.stat().st_mtime_ns == stamp


def test_an_unreadable_case_is_named(planned, tmp_path):
    data, spec = planned
    file = data.cases[0].images[0]
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError, match="case0"):
        cache_cases(data.cases, spec, tmp_path)


def test_the_same_content_is_shared_and_any_change_is_made_anew(planned, tmp_path):
    data, spec = planned
    first = cache_cases(data.cases[:1], spec, tmp_path)[0]
    again = cache_cases(data.cases[:1], spec, tmp_path)[0]
    assert again == first
    finer = spec.model_copy(
        update={"preprocessing": spec.preprocessing.model_copy(update={"spacing_mm": (1, 1, 1)})}
    )
    assert cache_cases(data.cases[:1], finer, tmp_path)[0].image != first.image
    assert cache_cases(data.cases[:1], spec, tmp_path, ignore_label=7)[0].label != first.label
    # Weights, patch and names shape nothing in the cache.
    renamed = spec.model_copy(update={"patch": (8, 8, 8), "channel_names": ("other",)})
    assert cache_cases(data.cases[:1], renamed, tmp_path)[0] == first
    label = data.cases[0].label
    label.write_bytes(data.cases[1].label.read_bytes())
    assert cache_cases(data.cases[:1], spec, tmp_path)[0].label != first.label


def test_ignored_voxels_are_minus_one(planned, tmp_path):
    data, spec = planned
    known = spec.model_copy(update={"labels": spec.labels[:2]})
    _, label, foreground = cache_cases(data.cases[:1], known, tmp_path, ignore_label=7)[0].load()
    assert set(np.unique(label)) == {-1, 0, 1}
    assert set(foreground[:, 0]) == {1}


def test_labels_present_become_class_indices(planned, tmp_path):
    data, spec = planned
    case = replace(data.cases[0], labels_present=(7,))
    assert cache_cases([case], spec, tmp_path)[0].present == (0, 2)


def test_a_full_disk_stops_cleanly_and_goes_on_later(planned, tmp_path, monkeypatch):
    data, spec = planned
    save, written = np.save, []

    def full(path, array, **options):
        written.append(path)
        if len(written) == 5:
            path.write_bytes(b"as far as it went")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, array, **options)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(
        DiskFullError, match=r"disk is full after 1 of 6 cases.*data.cache.*--resume"
    ):
        cache_cases(data.cases, spec, tmp_path / "cache")
    monkeypatch.undo()
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert not any(name.startswith(".partial") for name in left)
    first = next(path for path in (tmp_path / "cache").glob("case0*image*"))
    stamp = first.stat().st_mtime_ns
    assert len(cache_cases(data.cases, spec, tmp_path / "cache")) == 6
    assert first.stat().st_mtime_ns == stamp, "what was done is kept"


def as_pair(path, folder, value):
    """A scan as a header and its voxels beside it, of which one voxel is changed."""
    image = nib.load(path)
    values = np.asarray(image.dataobj).copy()
    values[0, 0, 0] = value
    nib.save(nib.Nifti1Pair(values, image.affine), folder / "case0.hdr")
    return folder / "case0.hdr"


@pytest.mark.parametrize("which", ["images", "label"])
def test_voxels_beside_their_header_are_content(planned, tmp_path, which):
    data, spec = planned
    case, folder = data.cases[0], tmp_path / "pairs"
    folder.mkdir()
    path = as_pair(case.label if which == "label" else case.images[0], folder, 0)
    case = replace(case, **{which: path if which == "label" else (path,)})
    first = cache_cases([case], spec, tmp_path / "cache")[0]
    header = path.read_bytes()
    as_pair(path, folder, 7)
    assert path.read_bytes() == header
    second = cache_cases([case], spec, tmp_path / "cache")[0]
    assert second.image != first.image
    assert (np.array(second.load()[which == "label"]) != first.load()[which == "label"]).any()


def test_a_case_that_changes_while_it_is_read_is_not_cached(planned, tmp_path, monkeypatch):
    """Its files would go by the hash of what it was before."""
    data, spec = planned
    case = data.cases[0]
    read = cache.read_labels

    def slow(path, **options):
        case.images[0].write_bytes(data.cases[1].images[0].read_bytes())
        return read(path, **options)

    monkeypatch.setattr(cache, "read_labels", slow)
    with pytest.raises(DataError, match="changed while it was read"):
        cache_cases([case], spec, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_an_array_that_was_removed_is_made_again(planned, tmp_path):
    data, spec = planned
    files = cache_cases(data.cases[:1], spec, tmp_path)[0]
    files.label.unlink()
    assert cache_cases(data.cases[:1], spec, tmp_path)[0].load()[1].shape == files.load()[1].shape
