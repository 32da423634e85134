"""Room on a disk: asked for, allocated, and told in one line where it is gone."""

import errno
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_disk import Usage, largest_file

from attnseg import disk
from attnseg.disk import allocate, append, free_bytes, full_disk_told, is_full, remedied
from attnseg.errors import AttnsegError, DataError, DiskFullError
from attnseg.files import atomic_folder, atomic_path


def test_free_bytes_are_those_of_the_folder_that_is_there(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    found = free_bytes(tmp_path / "not" / "yet" / "there.nii.gz")
    assert found is not None
    assert abs(found - free) < 1 << 30


def test_a_disk_that_does_not_tell_refuses_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(0, 0, 0))
    assert free_bytes(tmp_path) is None
    disk.require_room(tmp_path, 1 << 60, what="rows")


def test_too_little_room_is_told_before_work(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(10**9, 0, 5_300_000))
    disk.require_room(tmp_path, 5_300_000, what="the masks")
    with pytest.raises(DiskFullError) as caught:
        disk.require_room(tmp_path / "out", 2_500_000_000, what="the masks")
    assert str(caught.value) == (
        f"{tmp_path}/out: the masks need 2.5 GB and the disk has 5.3 MB free; free some space or "
        "write to another disk, then give the same command again"
    )


@pytest.mark.parametrize("size", [0, 1, 3_000_001])
@pytest.mark.parametrize("number", [None, errno.EOPNOTSUPP, errno.EINVAL])
def test_allocated_bytes_are_zeros_that_the_disk_has(tmp_path, monkeypatch, size, number) -> None:
    if number is not None:

        def refused(stream: int, begin: int, length: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", refused)
    allocate(tmp_path / "rows", size)
    assert (tmp_path / "rows").read_bytes() == bytes(size)
    assert (tmp_path / "rows").stat().st_blocks * 512 >= size  # no holes


def test_allocation_without_fallocate(tmp_path, monkeypatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    allocate(tmp_path / "rows", 12345)
    assert (tmp_path / "rows").read_bytes() == bytes(12345)


def test_an_allocation_beyond_the_limit_is_told(tmp_path) -> None:
    with (
        largest_file(4096),
        pytest.raises(DiskFullError, match=r"a: larger than a file may be here.*4\.1 kB.*; raise"),
        atomic_path(tmp_path / "a.rows") as rows,
    ):
        allocate(rows, 10_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        OSError("27604 requested and 10208 written"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        DataError("a.png: cannot be written ([Errno 28] No space left on device)"),
    ],
)
def test_every_disguise_of_a_full_disk_is_one_line(tmp_path: Path, error: Exception) -> None:
    assert is_full(error)
    (tmp_path / "a.npy").write_text("old")

    def write() -> None:
        with atomic_path(tmp_path / "a.npy") as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(DiskFullError) as caught:
        write()
    told = str(caught.value)
    assert told.startswith(f"{tmp_path}/a.npy: ")
    assert ".partial-" not in told
    assert "\n" not in told
    assert "again" in told
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_wrapped_once_is_told_and_other_errors_are_not(tmp_path: Path) -> None:
    wrapped = RuntimeError("writing failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_full(wrapped)
    for other in (OSError(errno.EACCES, "no"), ValueError("a"), FileNotFoundError(2, "b")):
        assert not is_full(other)
    with pytest.raises(PermissionError), full_disk_told(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_the_inner_file_is_the_one_told(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "case") as folder, atomic_path(folder / "liver.nrrd"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match=r"case/liver\.nrrd: no space left on the disk"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_numpy_file_beyond_the_limit(tmp_path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a.npy") as temporary:
            np.save(temporary, np.zeros(10_000))

    full = pytest.raises(DiskFullError, match=r"a\.npy: larger than a file may be here")
    with largest_file(4096), full:
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_append_that_fails_leaves_the_file_as_it_was(tmp_path) -> None:
    full = pytest.raises(DiskFullError, match="events: larger than a file may be here")
    append(tmp_path / "events", b"x" * 4000)
    with largest_file(4096), full:
        append(tmp_path / "events", b"y" * 1000)
    assert (tmp_path / "events").read_bytes() == b"x" * 4000
    with largest_file(4096):
        append(tmp_path / "events", b"z" * 96)
    assert (tmp_path / "events").stat().st_size == 4096


def test_remedies() -> None:
    with pytest.raises(DiskFullError, match=r"^a: full; wait, go on$"):  # noqa: SIM117
        with remedied("go on", relief="wait"):
            raise DiskFullError("a: full")
    # What makes room, as a higher limit does, is the error's own.
    with pytest.raises(DiskFullError, match=r"^a: large; raise it, go on$"), remedied("go on"):
        raise DiskFullError("a: large", "raise it")
    with pytest.raises(DiskFullError, match=r"^a: full; wait, its own$"), remedied("go on"):
        raise DiskFullError("a: full", "wait", "its own")


def test_it_comes_whole_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(DiskFullError("a: full", "wait", "go on")))
    assert str(error) == "a: full; wait, go on"
    assert (error.fault, error.relief, error.further) == ("a: full", "wait", "go on")
    assert isinstance(error, AttnsegError)
    assert error.exit_code == 1
