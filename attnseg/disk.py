"""Room on a disk: asked for before long work, made before it is mapped, told where it is gone.

The one place that knows a full disk, whatever a library makes of it, and says it in one line.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnseg.errors import AGAIN, FREE_SPACE, DiskFullError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# File systems without `fallocate`, and sizes that it does not take.
_NOT_ALLOCATED = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)
# What libraries say in place of an error number: NumPy of a short write, Rust (safetensors), and
# those that pass on no more than the text.
_IN_WORDS = re.compile(
    r"\d+ requested and \d+ written|\(os error (?:27|28|112|122)\)"
    r"|No space left on device|Disk quota exceeded|File too large"
)
_PIECE = 1 << 20
_RAISE = "raise the limit (`ulimit -f unlimited`)"
_ELSEWHERE = "write to another disk"
# How temporary names begin; see `attnseg.files`.
PARTIAL = ".partial-"
# Of a file beside another, in which its rows wait until it is written.
ROWS = ".rows"
_TEMPORARY = re.compile(rf"{re.escape(PARTIAL)}[0-9a-f]+-")


def free_bytes(path: Path) -> int | None:
    """Of the file system that `path` lies on, or would; None where it does not tell."""
    for place in (path, *path.absolute().parents):
        try:
            usage = shutil.disk_usage(place)
        except OSError:  # not there yet
            continue
        return usage.free if usage.total else None  # some network file systems tell 0 of 0
    return None


def require_room(path: Path, needed: int, *, what: str) -> None:
    """Stop before long work whose result would not fit.

    Args:
        path: a folder or file that is to be written, perhaps not there yet.
        needed: bytes that are certain to be taken.
        what: takes them, such as "the preprocessed cases".

    Raises:
        DiskFullError: fewer are free.
    """
    free = free_bytes(path)
    if free is not None and free < needed:
        raise DiskFullError(
            f"{path}: {what} need {in_words(needed)} and the disk has {in_words(free)} free"
        )


def allocate(path: Path, size: int) -> None:
    """Make a file of `size` zero bytes that the disk has room for, as what is mapped must have.

    A file that is merely long would be filled as it is written to, and where the disk is full by
    then, the process would be killed by a bus error.

    Raises:
        DiskFullError: it has no room.
    """
    with full_disk_told(path, needed=size), path.open("wb") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
            return
        except AttributeError:  # Windows, macOS
            pass
        except OSError as error:
            if error.errno not in _NOT_ALLOCATED:
                raise
        for begin in range(0, size, _PIECE):
            stream.write(bytes(min(_PIECE, size - begin)))


def append(path: Path, content: bytes) -> None:
    """Add bytes to the end of a file by one write; where that fails the file stays as it was.

    Raises:
        DiskFullError: there is no room.
    """
    with full_disk_told(path), opened_to_append(path) as stream:
        write_at_end(stream, content)


@contextmanager
def opened_to_append(path: Path) -> Iterator[int]:
    """The descriptor of a file that is read, and written to at its end alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    stream = os.open(path, flags, 0o666)
    try:
        yield stream
    finally:
        os.close(stream)


def write_at_end(stream: int, content: bytes) -> None:
    """Write to a file of `opened_to_append`, all or nothing.

    Raises:
        OSError: as of the write; what had been written of `content` is cut off again, unless
            another process has written behind it since.
    """
    length, written = os.fstat(stream).st_size, 0
    try:
        while written < len(content):  # the rest of a short write fails, and tells why
            written += os.write(stream, content[written:])
    except OSError:
        if written and os.fstat(stream).st_size == length + written:
            os.ftruncate(stream, length)
        raise


@contextmanager
def full_disk_told(path: Path, *, needed: int | None = None) -> Iterator[None]:
    """Turn what a full disk makes of the block into one line on `path`.

    Args:
        path: the file that is being written.
        needed: bytes, where they are known.

    Raises:
        DiskFullError: no space, quota or allowed size was left.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise DiskFullError(*_told(path, error, needed)) from error


@contextmanager
def remedied(further: str, *, relief: str = FREE_SPACE) -> Iterator[None]:
    """Give errors of a full disk that have no remedy of their own the one of the command.

    Args:
        further: what to do once there is room, such as "then give the same command again".
        relief: what makes room on a full disk; a limit on the size of files has its own.
    """
    try:
        yield
    except DiskFullError as error:
        if error.further != AGAIN:
            raise
        own = relief if error.relief == FREE_SPACE else error.relief
        raise DiskFullError(error.fault, own, further) from error


def is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a disk, a quota or an allowed size that is used up."""
    while error is not None and not isinstance(error, DiskFullError):  # which is told already
        number = error.errno if isinstance(error, OSError) else None
        if number in _FULL or (number is None and _IN_WORDS.search(str(error))):
            return True
        error = error.__cause__
    return False


def in_words(size: float) -> str:
    """Bytes as people read them, in powers of 1000.

    Example:
        >>> in_words(0), in_words(999), in_words(1_234_567), in_words(2.5e12)
        ('0 bytes', '999 bytes', '1.2 MB', '2500.0 GB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} bytes"


def _told(path: Path, error: BaseException, needed: int | None) -> tuple[str, str]:
    """What is wrong with the file, and what makes room for it."""
    number = getattr(error, "errno", None)
    told = str(error)
    folder, path = path.parent, _known(path)
    limit = _size_limit()
    wanted = f", {in_words(needed)} needed" if needed else ""
    if number == errno.EFBIG or (number is None and limit is not None and "No space" not in told):
        larger = f"{path}: larger than a file may be here"
        if limit is None:
            return f"{larger} (this file system takes no larger ones){wanted}", _ELSEWHERE
        return f"{larger} (`ulimit -f` is {in_words(limit)}){wanted}", _RAISE
    free = free_bytes(folder)
    if number == errno.EDQUOT or "quota" in told:
        return f"{path}: your quota on the disk of this folder is used up{wanted}", FREE_SPACE
    if _no_more_files(folder):
        return f"{path}: the disk takes no further files (it has no inodes left)", FREE_SPACE
    left = "" if free is None else f" ({in_words(free)} free{wanted})"
    return f"{path}: no space left on the disk{left}", FREE_SPACE


def _known(path: Path) -> Path:
    """The file as the user knows it: neither its temporary name nor that of its rows."""
    known = Path(_TEMPORARY.sub("", str(path)))
    return known.with_name(known.name.removesuffix(ROWS)) if known.name != ROWS else known


def _size_limit() -> int | None:
    """Bytes that a file of this process may have; None where nothing bounds it."""
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _no_more_files(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except (AttributeError, OSError):
        return False
    return found.f_files > 0 and found.f_favail == 0 and found.f_bavail > 0
