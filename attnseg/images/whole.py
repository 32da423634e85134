"""Label values as whole numbers, whatever the type and the scale factor they are stored with."""

from collections.abc import Iterator

import numpy as np

from attnseg.errors import DataError

# Values this close to whole numbers are those numbers. float32, and the float32 scale factor and
# offset of NIfTI, move even 65535 by less; and where every voxel of an interpolated mask is this
# close, no voxel has changed its label.
ROUNDING = 0.005
# Half a step of a scale factor may be larger. Up to here the nearest whole number is still certain.
_LARGEST_HALF_STEP = 0.49
_CHUNK = 1 << 20
_NAMED = 3


def whole_numbers(
    values: np.ndarray, *, source: str, scaling: tuple[float, float] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label values as integers, and what had to be settled.

    Integers without scaling are returned as they are. Of all other numbers those within `ROUNDING`
    of a whole number are that number. Integers of a file with a scale factor below 1 may be off by
    half a step of it, which is all that its writer could not store, if their smallest and their
    largest value are whole. NaN is background, 0, where all else is whole.

    Args:
        values: as stored, of any shape.
        source: the file, named in the error.
        scaling: slope and intercept of the file; None: values are as stored.

    Returns:
        Values of `values.shape`, int64 or the stored integer type; notes in plain sentences, none
        where every value was exactly whole.

    Raises:
        DataError: fractions, infinity, numbers beyond 64 bits, or NaN in every voxel.
    """
    if values.dtype.kind != "f" and scaling is None:
        return values, ()
    if not values.size:
        return values.astype(np.int64), ()
    flat = values.ravel(order="K")

    def chunks() -> Iterator[tuple[slice, np.ndarray]]:
        # Piece by piece: a float64 copy of a whole volume would take many times its size.
        for start in range(0, flat.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            yield part, _scaled(flat[part], scaling)

    missing, low, high, off = 0, np.inf, -np.inf, 0.0
    for _, chunk in chunks():
        numbers, nans = _without_nan(chunk)
        missing += nans
        if numbers.size:
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
            if max(-low, high) < 2.0**63:
                off = max(off, float(np.abs(numbers - np.rint(numbers)).max()))
    if missing == flat.size:
        raise DataError(
            f"{source}: label value nan is not a whole number, and no voxel is a number; export "
            "the mask again"
        )
    for extreme in (high, low):
        if not abs(extreme) < 2.0**63:
            raise DataError(
                f"{source}: label value {extreme} is not a whole number of 64 bits; labels must be "
                "integers: export the mask again"
            )
    allowed = _allowed(values.dtype, scaling, low, high)
    if off > allowed:
        raise _fractions(source, (chunk for _, chunk in chunks()), allowed)
    whole = np.empty_like(values, dtype=np.int64, subok=False)
    target = whole.ravel(order="K")
    assert np.may_share_memory(target, whole), whole.strides
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
        for part, chunk in chunks():
            target[part] = np.nan_to_num(np.rint(chunk))  # NaN → 0
    return whole, _notes(off, missing)


def _scaled(stored: np.ndarray, scaling: tuple[float, float] | None) -> np.ndarray:
    if scaling is None:
        return stored
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is settled later
        scaled: np.ndarray = stored.astype(np.float64) * scaling[0] + scaling[1]
    return scaled


def _without_nan(chunk: np.ndarray) -> tuple[np.ndarray, int]:
    nan = np.isnan(chunk)
    count = int(np.count_nonzero(nan))
    return (chunk[~nan] if count else chunk), count


def _allowed(
    dtype: np.dtype, scaling: tuple[float, float] | None, low: float, high: float
) -> float:
    """How far values may be off whole numbers.

    A writer such as nibabel puts the range of the values onto that of the integers, so that only
    the smallest and the largest are stored as they were; of a soft mask others are fractions.
    """
    if scaling is None or dtype.kind == "f" or abs(scaling[0]) >= 1:
        return ROUNDING
    if max(abs(low - round(low)), abs(high - round(high))) > ROUNDING:
        return ROUNDING
    return min(abs(scaling[0]) / 2 + ROUNDING, _LARGEST_HALF_STEP)


def _fractions(source: str, chunks: Iterator[np.ndarray], allowed: float) -> DataError:
    """The error that names the first fractions."""
    found: list[float] = []
    for chunk in chunks:
        numbers, _ = _without_nan(chunk)
        odd = np.unique(numbers[np.abs(numbers - np.rint(numbers)) > allowed])
        found = [*found, *(each for each in odd.tolist() if each not in found)]
        if len(found) > _NAMED:
            break
    first, *others = found
    more = ", …" if len(found) > _NAMED else ""
    also = f" (nor are {', '.join(map(_short, others[: _NAMED - 1]))}{more})" if others else ""
    return DataError(
        f"{source}: label value {_short(first)} is not a whole number{also}; labels must be "
        "integers: was the mask resampled with interpolation? resample the original with nearest "
        "neighbour, or set a threshold"
    )


def _short(value: float) -> str:
    return f"{value:.6g}"


def _notes(off: float, missing: int) -> tuple[str, ...]:
    notes = []
    if off:
        notes.append(
            f"label values lie up to {off:.1e} off whole numbers, as rounding leaves them; the "
            "nearest whole number is taken"
        )
    if missing:
        notes.append(f"{missing} voxel(s) are NaN; taken as background, 0")
    return tuple(notes)
