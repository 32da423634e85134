"""Which scan a mask is of: the identities of its files or series, and the grid they lie on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnseg.errors import DataError
from attnseg.images import Geometry, Source
from attnseg.images.identity import Identity, Likeness, compare, identify, outside


@dataclass(frozen=True)
class ScanIdentity:
    """Which scan something was made of, as a line of the manifest keeps it.

    Args:
        sources: of each channel's file or series, in order.
        shape: voxels along I, J, K.
        affine: rows of the matrix voxel index → mm, RAS+.
    """

    sources: tuple[Identity, ...]
    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]

    def __str__(self) -> str:
        more = f" and {len(self.sources) - 1} more" if len(self.sources) > 1 else ""
        return f"{self.sources[0]}{more}"

    @property
    def content(self) -> tuple[str, ...]:
        """What is in its sources, wherever they lie."""
        return tuple(each.sha256 for each in self.sources)

    @property
    def geometry(self) -> Geometry:
        i, j, k = self.shape
        return Geometry((i, j, k), np.array(self.affine))


def outsides(sources: Sequence[Source]) -> tuple[Identity, ...]:
    """What the file system says of a scan before it is read.

    Raises:
        DataError, OSError: a file that is not there or names no voxels.
    """
    return tuple(outside(source) for source in sources)


def identify_scan(
    sources: Sequence[Source], geometry: Geometry, *, before: Sequence[Identity]
) -> ScanIdentity:
    """The identity of a scan that was just read.

    Args:
        sources: its files or series.
        geometry: as read.
        before: `outsides` from before it was read.

    Raises:
        DataError: a file has changed since: what was read may be half of the one and half of the
            other.
    """
    found = tuple(identify(source) for source in sources)
    for one, other in zip(found, before, strict=True):
        if one.outside != other:
            raise DataError(
                f"{one.path}: was changed while it was read; predict it again when it is complete"
            )
    rows = tuple(tuple(float(number) for number in row) for row in geometry.affine)
    return ScanIdentity(found, geometry.shape, rows)


def compare_scan(
    known: ScanIdentity, sources: Sequence[Source], *, verify: bool = False
) -> tuple[Likeness, ScanIdentity]:
    """Whether a scan is the one that was known; see `attnseg.images.identity.compare`.

    A scan of more or fewer channels than was known, the rest in their old places, has changed.

    Returns:
        "same", "changed" or "other", and the scan's identity now, on the known grid.

    Raises:
        DataError, OSError: a source that cannot be read.
    """
    pairs = [
        compare(one, source, verify=verify)
        for one, source in zip(known.sources, sources, strict=False)
    ]
    found = {likeness for likeness, _ in pairs}
    now = ScanIdentity(tuple(each for _, each in pairs), known.shape, known.affine)
    if "other" in found:
        return "other", now
    if "changed" in found or len(known.sources) != len(sources):
        return "changed", now
    return "same", now


def is_made_of(known: ScanIdentity, sources: Sequence[Source]) -> bool:
    """Whether these are files or series that something was made of: all of its channels, or some.

    Raises:
        DataError, OSError: a source that cannot be read.
    """
    return all(
        any(compare(one, source)[0] == "same" for one in known.sources) for source in sources
    )


def identity_of(line: Mapping[str, Any]) -> ScanIdentity | None:
    """Which scan a line of a manifest is of; None where it does not say, as in older manifests."""
    scan = line.get("scan")
    try:
        sources = tuple(Identity(**each) for each in scan["sources"])  # type: ignore[index]
        shape = tuple(int(n) for n in scan["shape"])  # type: ignore[index]
        rows = tuple(tuple(float(x) for x in row) for row in scan["affine"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
    whole = sources and len(shape) == 3 and [len(row) for row in rows] == [4] * 4
    return ScanIdentity(sources, shape, rows) if whole else None
