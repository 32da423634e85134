"""Which file or series an image was read from: where it lies, how it looks from outside, and the
SHA-256 of what is in it. A name alone identifies nothing: two patients may both have a `ct.nii.gz`.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

from attnseg.errors import DataError
from attnseg.images.formats import files_of, find_source
from attnseg.images.paths import Series, Source, location
from attnseg.names import composed, resolved

Likeness = Literal["same", "changed", "other"]


@dataclass(frozen=True)
class Identity:
    """Which file or DICOM series something was read from.

    Args:
        path: absolute, links to folders and `..` followed; of a series its folder, archive or
            file.
        size: in bytes; of several files together.
        mtime_ns: when it was last changed, in ns since 1970; of several files the newest.
        sha256: of its bytes; of a header and its file of voxels one after the other; of a series of
            the sorted digests of its files. "" where only its outside was looked at.
        uid: SeriesInstanceUID of a series.
        listing: of a series, a hash of the names, sizes and times of its files.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str = ""
    uid: str = ""
    listing: str = ""

    def __str__(self) -> str:
        return f"{self.path} (series {self.uid})" if self.uid else self.path

    @property
    def outside(self) -> "Identity":
        """The same without what is in it."""
        return replace(self, sha256="")


def outside(source: Source) -> Identity:
    """What the file system says of a source, no file opened but a header that names another file.

    Raises:
        DataError: a header that cannot be read, or whose voxels are not there.
        OSError: a file that is not there.
    """
    source = _resolved(source)
    path = str(_place(location(source)))
    if isinstance(source, Series):
        within = source.place.is_dir()
        files = [source.place / name for name in source.files] if within else [source.place]
    else:
        files = list(files_of(source))
    states = [file.stat() for file in files]
    size = sum(state.st_size for state in states)
    newest = max(state.st_mtime_ns for state in states)
    if not isinstance(source, Series):
        return Identity(path, size, newest)
    listed = [source.files, [(state.st_size, state.st_mtime_ns) for state in states]]
    listing = hashlib.sha256(repr(listed).encode()).hexdigest()[:16]
    return Identity(path, size, newest, uid=source.uid, listing=listing)


def identify(source: Source) -> Identity:
    """All of a source's identity: every byte of it is read.

    Raises:
        DataError: as `outside` raises; a damaged archive.
        OSError: a file that is not there or cannot be read.
    """
    source = _resolved(source)
    digest = content_digest(source)
    return replace(outside(source), sha256=digest)


def compare(known: Identity, source: Source, *, verify: bool = False) -> tuple[Likeness, Identity]:
    """Whether a source is what it was when `known` was noted.

    The same path, size and time are taken for the same content, unless `verify` asks for a look at
    all of it. What differs is opened: the same content is the same wherever it lies.

    Args:
        known: with its `sha256`.
        source: as it is now.
        verify: hash it in any case.

    Returns:
        "same"; "changed", the same path with another content; or "other", another path and another
        content, or another series of a place in which the known one still lies. And the source's
        identity, its `sha256` only where it was looked at.

    Raises:
        DataError, OSError: as `identify` raises.
    """
    source = _resolved(source)
    now = outside(source)
    if not verify and now == known.outside:
        return "same", known
    # Another size is another content; archives of the same files differ in it all the same.
    if now.uid == known.uid and (now.uid or now.size == known.size):
        now = identify(source)
        if now.sha256 == known.sha256:
            return "same", now
    if composed(now.path) != composed(known.path) or _still_there(known, source):
        return "other", now
    return "changed", now


def content_digest(source: Source) -> str:
    """SHA-256 of a source's bytes, as `Identity.sha256`.

    Raises:
        DataError, OSError: as `identify` raises.
    """
    digest = hashlib.sha256()
    if not isinstance(source, Series):
        for file in files_of(source):
            with file.open("rb") as stream:
                _update(digest, stream)
    else:
        # Sorted: what its files are called says nothing of what they hold.
        digest.update("\n".join(sorted(_digests(source))).encode())
    return digest.hexdigest()


def _digests(series: Series) -> Iterator[str]:
    """Of each file of a series."""
    archive = None
    with ExitStack() as stack:
        if series.place.is_file() and series.files != (".",):
            try:
                archive = stack.enter_context(zipfile.ZipFile(series.place))
            except zipfile.BadZipFile as error:
                raise DataError(
                    f"{series.place}: no zip archive ({error}); copy it again"
                ) from None
        for name in series.files:
            path = series.place if name == "." else series.place / name
            digest = hashlib.sha256()
            try:
                with path.open("rb") if archive is None else archive.open(name) as stream:
                    _update(digest, stream)
            except (zipfile.BadZipFile, zlib.error, KeyError) as error:
                raise DataError(f"{path}: damaged ({error}); copy the archive again") from None
            yield digest.hexdigest()


def _update(digest: "hashlib._Hash", stream: IO[bytes]) -> None:
    while chunk := stream.read(1 << 20):
        digest.update(chunk)


def _place(path: Path) -> Path:
    """A path as it is known, whichever way leads there.

    A link to a file keeps its own name: what it leads to is what is in it.
    """
    return resolved(path) if path.is_dir() else resolved(path.parent) / path.name


def _still_there(known: Identity, source: Source) -> bool:
    """Whether the place of a series still holds the other series that was known there."""
    if not isinstance(source, Series) or not known.uid or known.uid == source.uid:
        return False
    from attnseg.images import dicom

    return any(series.uid == known.uid for series in dicom.find_series(source.place))


def _resolved(source: Source) -> Source:
    """A folder or an archive named by a table stands for its largest series, as when it is read."""
    return source if isinstance(source, Series) else find_source(Path(source))[0]
