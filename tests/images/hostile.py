"""Hostile files: a seeded mutator, and a runner that reads them in a process of its own.

A test gives good files as `Sample`s, a count and a reader:

    def read(path: Path) -> None:       # at module level, so that the process can import it
        read_image(path)

    def test_hostile(tmp_path: Path, full: Callable[[int], int]) -> None:
        samples = [Sample("a.nii", {"a.nii": content}, edits=(number_at(42, "<h"),))]
        tally = attack(read, samples, count=full(700), seed=0, folder=tmp_path)
        assert not tally.failures, tally.failures
        assert min(tally.read, tally.refused) > tally.total // 10

Every mutation is a function of the samples and its number alone: `damaged(samples, number)` gives
the files of a reported one again. A mutation passes if the reader returns or raises `DataError` of
one line, within ten seconds, with less than 1 GiB of further memory, nothing said on the screen,
and nothing written in the folder of the file nor in the working folder. A crash ends the process
alone and is reported like all else.
"""

import gzip
import math
import multiprocessing
import os
import re
import resource
import shutil
import struct
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from attnseg.errors import DataError

Edit = Callable[[bytes, Random], bytes]
Reader = Callable[[Path], object]

SECONDS = 10.0
BYTES = 1 << 30
# Asking for more than this fails at once instead of filling the machine.
_ADDRESS_SPACE = 4 << 30

_INTEGERS = (
    0,
    1,
    -1,
    2,
    3,
    5,
    7,
    255,
    256,
    32767,
    -32768,
    10**6,
    2**31 - 1,
    -(2**31),
    2**32,
    10**12,
)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.1, 348.0, 1e-40, 1e-12, 1e6, 1e12, 1e30, 1e38)
_TEXTS = (
    *map(str, _INTEGERS),
    *("nan", "inf", "-inf", "1e30", "1e-30", "0.0", "", "x", "99999999999999999999", "\0"),
    *("../a", "/etc/passwd", "LIST", "%d", "none", "gzip", "raw", "short", "uchar", "MET_DOUBLE"),
)


@dataclass(frozen=True)
class Sample:
    """A good file to damage, or a few that make one scan.

    Args:
        entry: what the reader is given: the name of one of the files, or "." for their folder.
        files: name, relative to their folder → content.
        edits: changes that know the format; they may be given any of the files, and return what
            they do not know unchanged.
    """

    entry: str
    files: Mapping[str, bytes]
    edits: tuple[Edit, ...] = ()


@dataclass
class Tally:
    """What became of the mutations."""

    read: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.read + self.refused + len(self.failures)


def number_at(offset: int, kind: str) -> Edit:
    """Overwrite the number at a byte offset, `struct` format `kind`, by an awkward one."""

    def edit(content: bytes, chance: Random) -> bytes:
        size = struct.calcsize(kind)
        if len(content) < offset + size:
            return content
        if kind[-1] in "fd":
            value: float = chance.choice((*_FLOATS, math.nan, math.inf, -math.inf))
            stored = struct.pack(kind, value)
        else:
            whole = chance.choice(_INTEGERS) & ((1 << 8 * size) - 1)
            stored = whole.to_bytes(size, "big" if kind[0] == ">" else "little")
        return content[:offset] + stored + content[offset + size :]

    return edit


def text_after(pattern: str) -> Edit:
    """Change one of the words on a line behind `pattern`, in a header of text."""

    def edit(content: bytes, chance: Random) -> bytes:
        line = re.search(pattern.encode() + rb"([^\n]*)", content)
        words = list(re.finditer(rb"[^\s,()]+", line[1])) if line else []
        if line is None or not words:
            return content
        start, end = chance.choice(words).span()
        word = chance.choice(_TEXTS).encode()
        return content[: line.start(1) + start] + word + content[line.start(1) + end :]

    return edit


def drop_line(content: bytes, chance: Random) -> bytes:
    """Leave out, or say twice, one of the first forty lines."""
    lines = content.split(b"\n")
    place = chance.randrange(min(40, len(lines)))
    lines[place : place + 1] = [] if chance.random() < 0.6 else [lines[place]] * 2
    return b"\n".join(lines)


def beneath_gzip(edit: Edit) -> Edit:
    """The change made to what a gzip file holds; a whole gzip file again."""

    def packed(content: bytes, chance: Random) -> bytes:
        try:
            plain = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):  # no gzip file, or no more
            return content
        return gzip.compress(edit(plain, chance), compresslevel=1, mtime=0)

    return packed


def change_bytes(content: bytes, chance: Random) -> bytes:
    """One to four bytes, most of them near the start, where headers are."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        if changed:
            end = len(changed) if chance.random() < 0.3 else min(600, len(changed))
            changed[chance.randrange(end)] = chance.choice(
                (0, 1, 127, 128, 255, chance.randrange(256))
            )
    return bytes(changed)


def cut_short(content: bytes, chance: Random) -> bytes:
    """Anything from nothing to all but a byte."""
    if not content:
        return content
    end = min(len(content), 600) if chance.random() < 0.5 else len(content)
    return content[: chance.randrange(end)]


def move_block(content: bytes, chance: Random) -> bytes:
    """A stretch taken out, zeroed, doubled, or written over by another one."""
    if not content:
        return content
    start = chance.randrange(len(content))
    block = content[start : start + chance.choice((1, 4, 16, 100, 1000))]
    new = chance.choice((b"", bytes(len(block)), block * 2, content[: len(block)]))
    return content[:start] + new + content[start + len(block) :]


def damaged(samples: Sequence[Sample], number: int) -> tuple[Sample, dict[str, bytes]]:
    """Mutation `number`: the sample it comes from, and its files."""
    chance = Random(number)
    sample = samples[number % len(samples)]
    files = dict(sample.files)
    for _ in range(1 + (chance.random() < 0.25)):
        name = chance.choice(sorted(files))
        plain = chance.choice((change_bytes, change_bytes, cut_short, move_block))
        edits = sample.edits if sample.edits and chance.random() < 0.6 else (plain,)
        changed = chance.choice(edits)(files[name], chance)
        # An edit that does not know the file leaves it as it is.
        files[name] = plain(files[name], chance) if changed == files[name] else changed
    if len(files) > 1 and chance.random() < 0.05:
        del files[chance.choice(sorted(files))]
    return sample, files


def attack(
    read: Reader, samples: Sequence[Sample], *, count: int, seed: int, folder: Path
) -> Tally:
    """Read `count` mutations of `samples`, one after the other, in a process of its own.

    Args:
        read: a function at the top of a module.
        samples: they take turns; the reader must read them as they are.
        count: how many mutations.
        seed: the first one's number is `seed` million.
        folder: an empty one to work in.
    """
    tally = Tally()
    worker = _Worker(read, samples, folder)
    try:
        for number in range(seed * 1_000_000, seed * 1_000_000 + count):
            sample, files = damaged(samples, number)
            place = _lay_out(folder / "scan", files)
            before = _listing(folder)
            answer = worker.ask(place / sample.entry)
            if answer in {"read", "refused"} and _listing(folder) != before:
                answer = f"wrote files: {sorted(_listing(folder).items() ^ before.items())}"
            if answer == "read":
                tally.read += 1
            elif answer == "refused":
                tally.refused += 1
            else:
                tally.failures.append(f"mutation {number} of {sample.entry}: {answer}")
    finally:
        worker.stop()
    return tally


class _Worker:
    """A process that reads what it is told to, begun anew after a crash, a hang or a glut."""

    def __init__(self, read: Reader, samples: Sequence[Sample], folder: Path) -> None:
        self.read, self.folder = read, folder
        self.good = [
            _lay_out(folder / f"good{index}", sample.files) / sample.entry
            for index, sample in enumerate(samples)
        ]
        (folder / "work").mkdir()
        self.start()

    def start(self) -> None:
        # Spawned: a test's process may have threads by now, which a fork would not bear.
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        arguments = (other, self.read, self.good, self.folder)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        other.close()
        try:
            ready = self.pipe.recv() if self.pipe.poll(60) else "not ready within a minute"
        except EOFError:
            ready = "crashed"
        assert ready == "ready", f"good files: {ready}"

    def ask(self, path: Path) -> str:
        self.pipe.send(path)
        try:
            answer: str = self.pipe.recv() if self.pipe.poll(SECONDS) else "took over ten seconds"
        except (EOFError, ConnectionResetError):
            self.process.join(5)
            answer = f"crash, exit code {self.process.exitcode}"
        if answer not in {"read", "refused"}:
            self.stop()
            self.start()
        return answer

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, read: Reader, good: Sequence[Path], folder: Path) -> None:
    warnings.simplefilter("always")
    os.chdir(folder / "work")
    for path in good:
        try:
            read(path)
        except Exception:
            pipe.send(f"{path}: {traceback.format_exc()}")
            return
    # From here on all that is said, by Python or by C++, goes to a file, and is a failure.
    with (folder.parent / f"{folder.name}-screen-{os.getpid()}").open("w+b") as screen:
        Path(screen.name).unlink()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(screen.fileno(), stream.fileno())
        begin = _memory("VmHWM")
        limit = _memory("VmSize") + _ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        pipe.send("ready")
        while True:
            try:
                path = pipe.recv()
            except EOFError:
                return
            answer = _outcome(read, path)
            growth = _memory("VmHWM") - begin
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            if growth > BYTES:
                answer = f"took {growth >> 20} MiB of memory"
            elif os.fstat(screen.fileno()).st_size:
                screen.seek(0)
                answer = f"said on the screen: {screen.read(2000)!r}"
            pipe.send(answer)


def _outcome(read: Reader, path: Path) -> str:
    try:
        read(path)
    except DataError as error:
        message = str(error)
        if "\n" in message or not message.startswith(str(path.parent)):
            return f"not one line that begins with the file: {message!r}"
        if "alloc" in message or "memory" in message.lower():
            return f"memory was asked for: {message!r}"
        return "refused"
    except BaseException:
        return traceback.format_exc()
    return "read"


def _memory(key: str) -> int:
    """A line of this process's status, in bytes."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, key
    return int(found[1]) << 10


def _lay_out(folder: Path, files: Mapping[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = (path for path in folder.rglob("*"))
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in found
        if path.is_file()
    }
