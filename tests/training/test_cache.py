"""Preprocessed cases on disk."""

import numpy as np
import pytest
import torch

from attnseg.datasets import find_dataset, fingerprint, inspect_dataset
from attnseg.errors import DataError
from attnseg.images import read_image, read_labels
from attnseg.preprocessing import preprocess, preprocess_labels
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
