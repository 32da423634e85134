"""Claims in a folder: among processes and threads, after a kill, where nothing can be locked."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from claiming import CLAIMING, claimed, end, process, told

from attnseg import lock_file
from attnseg.errors import RunError
from attnseg.locks import LOCK_FILE, FolderLock, Holder


def lock_of(folder: Path) -> FolderLock:
    return FolderLock(folder, command="attnseg test")


def test_a_claim_excludes_another_process_until_it_is_released(tmp_path: Path) -> None:
    with claimed(tmp_path, "a", "b") as other, lock_of(tmp_path) as lock:
        holder = lock.claim("a")
        assert holder is not None
        assert (holder.process, holder.command) == (other.pid, "attnseg test")
        assert str(holder).startswith(f"process {other.pid} (attnseg test, since 2")
        assert lock.claim("c", "b") == holder
        assert lock.claim("c") is None, "all or none: it was not taken with b"
        end(other)
        assert lock.claim("a", "b") is None
    assert list(tmp_path.iterdir()) == [], "the last one that ends in order removes the file"


def test_the_one_that_ends_first_leaves_the_file_to_the_other(tmp_path: Path) -> None:
    with claimed(tmp_path, "a") as other:
        with lock_of(tmp_path) as lock:
            assert lock.claim("b") is None
        assert (tmp_path / LOCK_FILE).exists()
        with lock_of(tmp_path) as lock:
            assert lock.claim("b") is None
            assert lock.claim("a") is not None
        end(other)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_nothing_claimed(tmp_path: Path) -> None:
    with claimed(tmp_path, "a") as other:
        other.send_signal(signal.SIGKILL)
        other.wait(timeout=20)
    assert (tmp_path / LOCK_FILE).exists()
    with lock_of(tmp_path) as lock:
        assert lock.claim("b") is None
        lines = (tmp_path / LOCK_FILE).read_text().splitlines()
        assert [json.loads(line)["process"] for line in lines] == [os.getpid()], "the dead is gone"
        assert lock.claim("a") is None
    assert list(tmp_path.iterdir()) == []


FORKING = """
import os, sys, time
from pathlib import Path
from attnseg.locks import FolderLock
with FolderLock(Path(sys.argv[1]), command="attnseg test") as lock:
    assert lock.claim("a") is None
    child = os.fork()
    if not child:
        holder = lock.claim("a")  # the child has nothing of its parent's
        print(holder.process == os.getppid(), flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""


def test_a_child_that_outlives_a_kill_claims_nothing(tmp_path: Path) -> None:
    """As a data loader may for some seconds."""
    with process(tmp_path, code=FORKING) as other:
        assert told(other) == "True"
        other.send_signal(signal.SIGKILL)
        os.waitpid(other.pid, 0)
        with lock_of(tmp_path) as lock:
            assert lock.claim("a") is None
        children = [
            int(each.name)
            for each in Path("/proc").iterdir()
            if each.name.isdigit() and str(tmp_path).encode() in _command(each)
        ]
        assert len(children) == 1, "the child is there still"
        os.kill(children[0], signal.SIGKILL)


def _command(place: Path) -> bytes:
    try:
        return (place / "cmdline").read_bytes()
    except OSError:
        return b""


ENDING = """
import os, sys
from pathlib import Path
from attnseg.locks import FolderLock
lock = FolderLock(Path(sys.argv[1]), command="attnseg test").__enter__()
assert lock.claim("a") is None
child = os.fork()
if not child:
    lock.release("a")
    lock.__exit__()
    os._exit(0)
os.waitpid(child, 0)
print("ours", flush=True)
sys.stdin.readline()
"""


def test_a_child_that_ends_in_order_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    with process(tmp_path, code=ENDING) as other, lock_of(tmp_path) as lock:
        assert told(other) == "ours"
        holder = lock.claim("a")
        assert holder is not None
        assert holder.process == other.pid


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    """Which the locks of the system do not do within a process."""
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with lock_of(tmp_path) as lock:
                if lock.claim("a") is None:
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(most) == {1}
    with lock_of(tmp_path) as one, lock_of(tmp_path / ".") as two:
        assert one.claim("a") is None
        assert one.claim("a") is None, "it is ours"
        holder = two.claim("A")  # Windows and macOS take both for one file
        assert holder is not None
        assert holder.process == os.getpid()
        one.release("a")
        assert two.claim("a") is None
    assert list(tmp_path.iterdir()) == []


def test_another_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    since = "2026-12-01T10:32:00+00:00"
    monkeypatch.setattr("platform.node", lambda: "here")
    assert " on " not in str(Holder(7, "here", since, "attnseg train"))
    told = str(Holder(7, "node-a", since, "attnseg train"))
    assert told.startswith("process 7 on node-a (attnseg train, since 2026-1")
    assert str(Holder()) == "another process"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 50,
        b'{"process": 12, "bytes": ',
        b'{"bytes": ["x", [], null], "process": 1}\n[1]\n12\n"a"\n',
        b'{"bytes": [-5, 99999999999999999999], "process": "x", "command": "\\u001b[2J"}',
        b"[" * 100_000,
        b"9" * 5000,
    ],
)
def test_a_damaged_file_is_in_nobodys_way(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK_FILE).write_bytes(content)
    with lock_of(tmp_path) as lock:
        assert lock.claim("a") is None
        with process(tmp_path, "a") as other:
            assert told(other).startswith(f"process {os.getpid()} (attnseg test, since ")
    assert list(tmp_path.iterdir()) == []


def test_who_has_it_may_be_unknown_but_has_it(tmp_path: Path) -> None:
    with claimed(tmp_path, "a"), lock_of(tmp_path) as lock:
        (tmp_path / LOCK_FILE).write_bytes(b"")
        assert lock.claim("a") == Holder()


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EIO]
)
def test_a_file_system_without_locks_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    said: list[str] = []
    with FolderLock(tmp_path, command="attnseg test", say=said.append) as lock:
        assert lock.claim("a") is None
        assert lock.claim("b") is None
        assert said == [
            f"note: {tmp_path}: cannot be locked ({os.strerror(number)}); see to it that no other "
            "attnseg writes there meanwhile"
        ]
        with lock_of(tmp_path) as second:
            assert second.claim("a") is not None, "within the process claims hold all the same"
        assert list(tmp_path.iterdir()) == []


def test_a_link_or_a_folder_in_its_place_is_left_alone(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "precious").write_text("content")
    (tmp_path / LOCK_FILE).symlink_to("precious")
    with FolderLock(tmp_path, command="attnseg test", say=said.append) as lock:
        assert lock.claim("a") is None
    assert len(said) == 1
    assert (tmp_path / "precious").read_text() == "content"
    (tmp_path / LOCK_FILE).unlink()
    (tmp_path / LOCK_FILE).mkdir()
    with FolderLock(tmp_path, command="attnseg test", say=said.append) as lock:
        assert lock.claim("a") is None
    assert len(said) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_where_nothing_can_be_written_nothing_is_locked_or_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    said: list[str] = []
    with FolderLock(tmp_path, command="attnseg test", say=said.append) as lock:
        assert lock.claim("a") is None
    tmp_path.chmod(0o700)
    assert said == []


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775, 0o2770, 0o1777])
def test_whoever_may_write_to_the_folder_may_lock_it(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with lock_of(tmp_path) as lock:
        lock.claim("a")
        assert (tmp_path / LOCK_FILE).stat().st_mode & 0o777 == mode & 0o666


def test_folders_that_were_made_for_nothing_are_gone(tmp_path: Path) -> None:
    with lock_of(tmp_path / "new" / "run") as lock:
        assert lock.claim("a") is None
        assert (tmp_path / "new" / "run" / LOCK_FILE).exists()
    assert list(tmp_path.iterdir()) == []
    with lock_of(tmp_path / "new" / "run") as lock:
        assert lock.claim("a") is None
        (tmp_path / "new" / "run" / "result").write_text("x")
    assert [each.name for each in (tmp_path / "new" / "run").iterdir()] == ["result"]


def test_a_folder_that_was_removed_and_made_anew_is_locked_anew(tmp_path: Path) -> None:
    with lock_of(tmp_path) as lock:
        assert lock.claim("a") is None
        (tmp_path / LOCK_FILE).unlink()
        assert lock.claim("b") is None
        with process(tmp_path, "a") as other:
            assert told(other).startswith(f"process {os.getpid()} ")


def test_a_stopped_process_at_the_gate_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_file, "_GATE_SECONDS", 0.1)
    stopping = "gate = lock._file._gate(); gate.__enter__(); print('ours', flush=True)"
    code = CLAIMING.replace('print(lock.claim(*sys.argv[2:]) or "ours", flush=True)', stopping)
    with process(tmp_path, code=code) as other, lock_of(tmp_path) as lock:
        assert told(other) == "ours"
        with pytest.raises(RunError, match="kept it busy"):
            lock.claim("a")


def test_hold_names_who_has_it_in_one_line(tmp_path: Path) -> None:
    with claimed(tmp_path, "a") as other, lock_of(tmp_path) as lock:
        with pytest.raises(RunError) as caught:
            lock.hold("a", what="fold0 is being trained", remedy="wait for it")
        text = str(caught.value)
        assert text.startswith(f"fold0 is being trained by process {other.pid} (attnseg test, ")
        assert text.endswith("); wait for it")
        assert "\n" not in text


def test_a_turn_comes_after_the_other_and_ends(tmp_path: Path) -> None:
    waited: list[Holder] = []
    with claimed(tmp_path, "a") as other, lock_of(tmp_path) as lock:
        with (
            pytest.raises(RunError, match=f"still in use by process {other.pid} .* try again"),
            lock.turn("a", seconds=0, on_wait=waited.append),
        ):
            pass

        def on_wait(holder: Holder) -> None:
            waited.append(holder)
            end(other)

        with lock.turn("a", seconds=60, on_wait=on_wait), lock_of(tmp_path) as second:
            assert second.claim("a") is not None
        assert [each.process for each in waited] == [other.pid] * 2
        with lock_of(tmp_path) as second:
            assert second.claim("a") is None, "released at the end of the turn"


class Windows(ModuleType):
    """The locks of Windows' C library: of a process, refused twice, 2³¹ bytes at most."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.locked: dict[int, tuple[int, int]] = {}

    def locking(self, stream: int, mode: int, length: int) -> None:
        start = os.lseek(stream, 0, os.SEEK_CUR)
        assert start + length < 2**31
        if mode == self.LK_UNLCK:
            if self.locked.pop(start, None) != (stream, length):
                raise OSError(errno.EACCES, "not locked")
            return
        for other, (_, many) in self.locked.items():
            if start < other + many and other < start + length:
                raise OSError(errno.EACCES, "locked")
        self.locked[start] = stream, length


def test_the_way_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    with lock_of(tmp_path) as lock:
        assert lock.claim("a", "b") is None
        assert len(windows.locked) == 2
        lock.release("a")
        assert len(windows.locked) == 1
        windows.locked[lock_of_byte("c")] = -1, 1  # another process
        assert lock.claim("c") == Holder()
        assert lock.claim("a") is None
        del windows.locked[lock_of_byte("c")]
    assert list(tmp_path.iterdir()) == []


def lock_of_byte(name: str) -> int:
    from attnseg.locks import _offset

    return _offset(name)


RACING = """
import sys, time
from pathlib import Path
from attnseg.locks import FolderLock
folder, times = Path(sys.argv[1]), int(sys.argv[2])
got = 0
for _ in range(times):
    with FolderLock(folder, command="attnseg test") as lock:
        if lock.claim("a") is None:
            (folder / "inside").touch(exist_ok=False)  # fails where two are inside
            (folder / "inside").unlink()
            got += 1
print(got)
"""


@pytest.mark.slow
def test_many_processes_open_and_remove_the_file_at_once(tmp_path: Path, full) -> None:
    times = str(full(4000))
    command = [sys.executable, "-c", RACING, str(tmp_path), times]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for each in started:
        out, err = each.communicate(timeout=600)
        assert each.returncode == 0, err
        assert int(out) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="becomes two other users")
def test_users_of_one_group_exclude_each_other(tmp_path: Path) -> None:
    """In a folder that their group may write to, whatever group each has by default."""
    folder = tmp_path / "shared"
    folder.mkdir()
    os.chown(folder, 0, 3000)
    folder.chmod(0o770)
    for above in [tmp_path, *tmp_path.parents][:-2]:
        above.chmod(above.stat().st_mode | 0o011)

    def as_user(number: int, then) -> int:
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            os.setgroups([3000])
            os.setgid(number)
            os.setuid(number)
            os.umask(0o077)
            with lock_of(folder) as lock:
                code = then(lock)
        finally:
            os._exit(code)

    hear, tell = os.pipe()
    end_hear, end_tell = os.pipe()

    def first(lock: FolderLock) -> int:
        taken = lock.claim("a") is None
        os.write(tell, b"x")
        os.read(end_hear, 1)
        return 0 if taken else 2

    def second(lock: FolderLock) -> int:
        holder = lock.claim("a")
        return 0 if holder and holder.process == one else 3

    one = as_user(3001, first)
    os.read(hear, 1)
    assert (folder / LOCK_FILE).stat().st_gid == 3000
    two = as_user(3002, second)
    assert os.waitstatus_to_exitcode(os.waitpid(two, 0)[1]) == 0
    os.write(end_tell, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) == 0
    assert list(folder.iterdir()) == []
