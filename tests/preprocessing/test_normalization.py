"""Normalisation against its closed form, and scans it must refuse."""

import numpy as np
import pytest

from attnseg.errors import DataError
from attnseg.preprocessing import class_indices, foreground_statistics, is_constant, normalize
from attnseg.spec import ClipZScore, ZScore

SHAPE = (6, 5, 4)


def foreground(scale: float = 100.0) -> np.ndarray:
    """A scan of which a third is zero."""
    rng = np.random.default_rng(0)
    array = rng.gamma(2.0, scale, SHAPE).astype(np.float32)
    array[:2] = 0
    return array


@pytest.mark.parametrize("scale", [100.0, 1e6, 1e-3, 1e-9])
def test_zscore_ignores_zeros(scale: float) -> None:
    """Also for units as small as m²/s."""
    array = foreground(scale)
    inside = array[2:].astype(np.float64)
    expected = (array - inside.mean()) / inside.std()
    result = normalize(array, ZScore(), source="a")
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    assert foreground_statistics(array, source="a") == pytest.approx((inside.mean(), inside.std()))


def test_zscore_of_a_scan_without_zeros() -> None:
    array = foreground() + 1
    result = normalize(array, ZScore(), source="a")
    assert result.mean() == pytest.approx(0, abs=1e-5)
    assert result.std() == pytest.approx(1, abs=1e-5)


def test_huge_intensities_keep_their_contrast() -> None:
    """Steps of 1 on a pedestal of 10^6: float32 sums of squares would lose them."""
    array = (1e6 + np.arange(120) % 11).astype(np.float32).reshape(SHAPE)
    steps = np.arange(120) % 11
    expected = ((steps - steps.mean()) / steps.std()).reshape(SHAPE)
    np.testing.assert_allclose(normalize(array, ZScore(), source="a"), expected, atol=0.02)


def test_constant_foreground_on_zeros_keeps_the_contrast_between_them() -> None:
    array = np.zeros(SHAPE, dtype=np.float32)
    array[:3] = 7.0
    result = normalize(array, ZScore(), source="a")
    np.testing.assert_allclose(result[:3], 1.0, rtol=1e-6)
    np.testing.assert_allclose(result[3:], -1.0, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e6, 1e-9])
def test_a_constant_channel_becomes_zeros(value: float) -> None:
    array = np.full(SHAPE, value, dtype=np.float32)
    assert foreground_statistics(array, source="a")[1] == 0
    assert is_constant(array)
    result = normalize(array, ZScore(), source="a.nii")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.zeros(SHAPE))


@pytest.mark.parametrize(
    "array",
    [
        foreground(),
        foreground(1e-9),
        foreground() * 0 + np.eye(6, 5)[..., None].astype(np.float32) * 1e-9,
        np.full(SHAPE, 1e6, np.float32) + np.eye(6, 5)[..., None].astype(np.float32) / 16,
        np.full(SHAPE, 1e6, np.float32) + np.eye(6, 5)[..., None].astype(np.float32) * 16,
        np.full((1, 1, 1), 5, np.float32),
    ],
)
def test_check_and_normalisation_agree_on_what_is_constant(array: np.ndarray) -> None:
    constant = foreground_statistics(array, source="a")[1] == 0
    assert is_constant(array) == constant
    assert (not normalize(array, ZScore(), source="a").any()) == constant


def test_what_is_no_number_is_not_constant() -> None:
    for value in (np.nan, np.inf):
        assert not is_constant(np.full(SHAPE, value, dtype=np.float32))


@pytest.mark.parametrize("scheme", [ZScore(), ClipZScore(low=0, high=1, mean=0.5, std=0.1)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_undefined_voxels_are_refused(scheme: ZScore | ClipZScore, value: float) -> None:
    array = foreground()
    array[0, 0, 0] = array[5, 4, 3] = value
    with pytest.raises(DataError, match=r"^a\.nii: 2 of 120 voxels are NaN or infinite") as error:
        normalize(array, scheme, source="a.nii")
    assert "\n" not in str(error.value)


def test_ct_is_clipped_and_scaled_by_fixed_numbers() -> None:
    array = np.array([-1024, -100, -99.5, 0, 250, 400, 3000], dtype=np.float32).reshape(7, 1, 1)
    result = normalize(array, ClipZScore(low=-100, high=400, mean=50, std=200), source="a")
    assert result.dtype == np.float32
    expected = [-0.75, -0.75, -0.7475, -0.25, 1.0, 1.75, 1.75]
    np.testing.assert_allclose(result.ravel(), expected, rtol=1e-6)


def test_a_constant_ct_is_fine() -> None:
    array = np.full(SHAPE, -1000, dtype=np.float32)
    result = normalize(array, ClipZScore(low=-100, high=400, mean=50, std=200), source="a")
    np.testing.assert_array_equal(result, np.full(SHAPE, -0.75, dtype=np.float32))


@pytest.mark.parametrize("dtype", ["i2", "i8", "u8", "u2"])
def test_class_indices(dtype: str) -> None:
    values = (0, 205, -1, 500) if dtype[0] == "i" else (0, 205, 7, 500)
    array = np.array([values[::-1], values], dtype=dtype)[..., None]
    result = class_indices(array, values, source="a")
    assert result.dtype == np.int16
    np.testing.assert_array_equal(result[..., 0], [[3, 2, 1, 0], [0, 1, 2, 3]])


@pytest.mark.parametrize("value", [-2, 1, 204, 206, 501, -(2**40), 2**40])
def test_an_unknown_label_is_named(value: int) -> None:
    array = np.array([0, -1, 205, value, 500], dtype=np.int64).reshape(5, 1, 1)
    with pytest.raises(DataError) as error:
        class_indices(array, (0, 205, -1, 500), source="m.nii")
    assert str(error.value) == (
        f"m.nii: label value {value} is not one of [0, 205, -1, 500]; correct the mask or declare "
        "the value"
    )
