"""What is printed never ends a command: narrow encodings, closed pipes, full and closed devices."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attnseg.cli.app import app
from attnseg.cli.output import Output, guard_output, harmless

COMMANDS = sorted(command.callback.__name__ for command in app.registered_commands)
ENCODINGS = ("ascii", "latin-1", "cp1252")


class Screen:
    """stdout or stderr of an encoding, and what was written there."""

    def __init__(self, encoding: str) -> None:
        self._bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self._bytes, encoding=encoding)
        self.encoding = encoding

    @property
    def text(self) -> str:
        self.stream.flush()
        return self._bytes.getvalue().decode(self.encoding)


@pytest.fixture
def on(attnseg, monkeypatch):
    """Run a command as a process does, whose output has an encoding: exit code, stdout, stderr."""

    def run(encoding: str, *arguments) -> tuple[int, str, str]:
        out, err = Screen(encoding), Screen(encoding)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out.stream)
            patched.setattr(sys, "stderr", err.stream)
            guard_output()
            code = attnseg(*arguments).code
        return code, out.text, err.text

    return run


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_help_of_every_command_in_narrow_encodings(on, encoding):
    """The case of shared/cases: α of `attention --help` is in none of them."""
    assert len(COMMANDS) == 12
    for command in ([], ["model"], ["model", "show"], *([name] for name in COMMANDS)):
        code, out, err = on(encoding, *command, "--help")
        assert (code, err) == (0, ""), command
        assert out.startswith("Usage: ")
    assert "judge it: alpha as images" in " ".join(on(encoding, "attention", "--help")[1].split())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tables_and_files_in_narrow_encodings(on, attnseg, dataset, encoding, tmp_path):
    """Names with letters that the encoding lacks; the files say the same as in UTF-8."""
    for folder in ("images", "labels"):
        for number, name in enumerate(("Łódź", "Müller", "患者")):
            (dataset / folder / f"c{number}.nii.gz").rename(dataset / folder / f"{name}.nii.gz")
    labels = dataset / "labels"
    shutil.copytree(labels, tmp_path / "other")
    commands = {
        "evaluate": (labels, labels, "--csv", "x.csv"),
        "compare": (labels, tmp_path / "other", "--ref", labels, "--csv", "x.csv"),
        "check": (dataset, "--html", "x.csv"),
    }
    for command, arguments in commands.items():
        found = {}
        for each in (encoding, "utf-8"):
            code, out, _ = on(each, command, *arguments, "--json", "x.json")
            assert code == 0
            assert out.count("\n") > 5
            found[each] = Path("x.json").read_bytes(), Path("x.csv").read_bytes()
            Path("x.json").unlink()
            Path("x.csv").unlink()
        assert found[encoding] == found["utf-8"], command
        assert "Łódź" in found["utf-8"][0].decode("utf-8")
    assert r"\u0141\xf3d\u017a" in on("ascii", "evaluate", labels, labels)[1]


def test_files_are_written_before_anything_is_printed(attnseg, dataset, monkeypatch):
    """Whoever has another stdout, as a caller in Python, keeps the files too."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    labels = dataset / "labels"
    for command in (("evaluate", labels, labels), ("compare", labels, labels, "--ref", labels)):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", Broken())
            assert attnseg(*command, "--json", "scores.json").code == 1
        assert json.loads(Path("scores.json").read_text("utf-8"))["cases"]
        Path("scores.json").unlink()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "α 2 × 3 ✓ Müller \\udcfc"),
        ("cp1252", "alpha 2 × 3 ok Müller \\udcfc"),
        ("ascii", "alpha 2 x 3 ok M\\xfcller \\udcfc"),
    ],
)
def test_what_becomes_of_letters_that_an_encoding_lacks(encoding, expected):
    """A lone surrogate is how Python holds a byte of a file's name that is no UTF-8."""
    screen = Screen(encoding)
    output = Output(screen.stream)
    output.write("α 2 × 3 ✓ Müller \udcfc")
    output.flush()
    assert screen.text == expected
    assert (output.encoding, output.incomplete) == (encoding, "")


def test_a_name_that_is_no_utf8_is_evaluated_and_written(on, dataset):
    labels = dataset / "labels"
    (labels / "c0.nii.gz").rename(labels / os.fsdecode(b"M\xfcller.nii.gz"))
    code, out, _ = on("utf-8", "evaluate", labels, labels, "--json", "s.json", "--csv", "s.csv")
    assert code == 0
    assert "M\\udcfcller" in out
    names = [case["name"] for case in json.loads(Path("s.json").read_text("utf-8"))["cases"]]
    assert os.fsencode(names[0]) == b"M\xfcller"
    assert "M\\udcfcller" in Path("s.csv").read_text("utf-8")


def test_a_closed_pipe_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        output = Output(stream)
        for _ in range(3):
            output.write("line\n" * 5000)
            output.flush()
        assert output.failure is not None
        assert output.failure.errno == errno.EPIPE
        assert output.incomplete == "", "the reader had what it wanted"
        assert not output.isatty()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_told_in_the_end():
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        output = Output(stream)
        output.write("line\n")
        output.flush()
        output.write("more")
        output.flush()
        assert output.incomplete == "No space left on device"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`command`, in which `attnseg` is this checkout's."""
    text = command.replace("attnseg", f"{sys.executable} -m attnseg", 1)
    return subprocess.run(
        ["bash", "-c", text],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | environment,
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("attnseg predict --help | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("attnseg predict --help > /dev/full", 1, "No space left on device"),
        ("attnseg predict --help >&-", 0, ""),
        ("attnseg nonsense 2>&-", 2, ""),
        ("attnseg nonsense 2> /dev/full", 2, ""),
        ("attnseg nonsense <&- >&- 2>&-", 2, ""),
    ],
)
def test_processes_whose_output_goes_nowhere(command, code, told):
    done = shell(command)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert done.stderr.count("\n") == bool(told), "one line, no traceback"


def test_a_process_in_an_ascii_locale():
    place = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell("attnseg attention --help", **place)
    assert done.returncode == 0, done.stderr
    assert "alpha as images" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_a_file_takes_no_closed_descriptors_place(dataset):
    """With stdout closed the next file that is opened would be descriptor 1."""
    labels = dataset / "labels"
    done = shell(f"attnseg evaluate {labels} {labels} --json {dataset}/s.json >&- 2>&-")
    assert done.returncode == 0
    assert json.loads((dataset / "s.json").read_text("utf-8"))["mean_dice"] == 1


def test_what_a_message_quotes_moves_no_cursor():
    assert harmless("a\x1b[2Jb\x9bc\nü 漢\u202e") == "a\\x1b[2Jb\\x9bc\nü 漢\\u202e"
    assert len(harmless("x" * 10**6)) < 30_000


@pytest.mark.parametrize(
    ("terminal", "shown"),
    [
        (False, "a\\x1b[31mb\\x9bc\\x1b]0;d\\x07e\\u202ef\t\n\r"),
        (True, "a\x1b[31mb\\x9bc\\x1b]0;d\\x07e\\u202ef\t\n\r"),
    ],
)
def test_what_is_printed_holds_nothing_that_a_terminal_obeys(terminal, shown):
    """But colours and bars, which are for terminals alone."""

    class Stream(io.StringIO):
        def isatty(self):
            return terminal

    stream = Stream(newline="")
    Output(stream).write("a\x1b[31mb\x9bc\x1b]0;d\x07e\u202ef\t\n\r")
    assert stream.getvalue() == shown
