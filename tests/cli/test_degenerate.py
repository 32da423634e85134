"""Every command with values that can mean nothing: one line, exit code 1 or 2, nothing written."""

import os
from pathlib import Path

import pytest
from predicted import IMAGE, predicted

from attnseg.errors import UsageError
from attnseg.files import why_no_file, write_text
from attnseg.images import write_image
from attnseg.inference.request import take_shard

# Each with its place for a value, `{}`.
COMMANDS = {
    "demo": ("-o {}",),
    "check": ("{}", "data --json {}", "data --html {}", "data --fix {}", "data --layout {}",
              "data --images {}", "data --labels {}", "data --series {}"),
    "plan": ("{}", "data -o {}", "data --config {}", "data --set {}", "data --gpu-memory {}",
             "data --device {}"),
    "train": ("{}", "data -o {}", "data --config {}", "data --set {}", "data --plan {}",
              "data --init {}", "data --fold {}", "data --gates {}", "data --device {}"),
    "predict": ("{}", "data -o {}", "data -m {}", "data --channels {}", "data --series {}",
                "data --format {}", "data --shard {}", "data --engine {}", "data --max-ram {}",
                "data --max-vram {}", "data --device {}", "data --backend {}"),
    "evaluate": ("{} data", "data {}", "data data --json {}", "data data --csv {}"),
    "compare": ("{} data --ref data", "data {} --ref data", "data data --ref {}",
                "data data --ref data --metric {}", "data data --ref data --images {}",
                "data data --ref data --json {}", "data data --ref data --csv {}",
                "data data --ref data --html {}"),
    "attention": ("{}", "data -o {}", "data -m {}", "data --ref {}", "data --device {}",
                  "data --max-ram {}"),
    "view": ("{}", "data {}", "data data --names {}", "data --attention {}",
             "data data --compare {}", "data -o {}", "data --series {}"),
    "report": ("{}", "data -o {}", "data --ref {}", "data --images {}", "data --sheet {}",
               "data --curves {}"),
    "convert": ("{} out", "data {}", "data out --like {}", "data out --layout {}",
                "data out --format {}", "data out --images {}", "data out --labels {}",
                "data out --series {}"),
    "model": ("show {}", "verify {}"),
}  # fmt: skip
PLACES = [(command, form) for command, forms in COMMANDS.items() for form in forms]
# Value → what is said of it, whatever it stands for.
ANYWHERE = {
    "": "is empty",
    "  ": "is empty",
    "a\nb": "holds a control character",
    "a\0b": "holds a control character",
    "\x1b[31mred": "holds a control character",
    "n" * 300: "longer than file systems take",
    "d/" * 2500: "longer than file systems take",
    "loop": "leads back to itself",
    "loop/x": "leads back to itself",
    "pipe": "is a pipe or a device",
    "~nobody/x": "in the place of ~",
}


@pytest.fixture
def odd(attnseg, tmp_path):
    """`attnseg` in a folder of odd things, and what lies there."""
    (tmp_path / "data").mkdir()
    (tmp_path / "loop").symlink_to("loop2")
    (tmp_path / "loop2").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    there = sorted(map(str, tmp_path.rglob("*")))

    def run(*arguments):
        result = attnseg(*arguments)
        assert sorted(map(str, tmp_path.rglob("*"))) == there, arguments
        return result

    return run


def refused(result, code, *parts):
    """One line that says it, with this exit code."""
    assert result.code == code, result
    lines = result.err.splitlines()
    assert len(lines) == 1, lines
    assert len(lines[0]) < 400, lines
    assert lines[0].isprintable()
    for part in parts:
        assert part in lines[0], lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_can_mean_nothing_is_refused_by_every_command_and_option(odd, command):
    for form in COMMANDS[command]:
        option = form.split()[-2] if " -" in f" {form}" and form.endswith("{}") else ""
        for value, why in ANYWHERE.items():
            arguments = [value if part == "{}" else part for part in form.split()]
            refused(odd(command, *arguments), 2, why, option if option.startswith("-") else "")
            if option.startswith("--"):
                glued = [*arguments[:-2], f"{option}={value}"]
                refused(odd(command, *glued), 2, why, option)


WRITTEN = ("--json", "--html", "--csv", "--sheet", "--curves")
FILES = [
    (command, form)
    for command, form in PLACES
    if form.endswith(tuple(f"{option} {{}}" for option in WRITTEN))
    or (command in ("view", "report", "plan") and form.endswith("-o {}"))
]
FOLDERS = [
    (command, form)
    for command, form in PLACES
    if (command in ("demo", "train", "predict", "attention") and form.endswith("-o {}"))
    or form.endswith("--fix {}")
]


@pytest.mark.parametrize(("command", "form"), FILES)
def test_a_file_is_written_where_a_file_can_be(odd, command, form):
    for value, why in {
        ".": "is a folder",
        "/": "is a folder",
        "data/..": "is a folder",
        "data": "is a folder",
        "file.txt/x.html": "file.txt above it is a file",
        "dangling/x.html": "dangling above it is a link that leads nowhere",
    }.items():
        arguments = [value if part == "{}" else part for part in form.split()]
        refused(odd(command, *arguments), 2, why, value, form.split()[-2])


@pytest.mark.parametrize(("command", "form"), FOLDERS)
def test_a_folder_is_written_where_a_folder_can_be(odd, command, form):
    for value, why in {
        "file.txt": "is a file",
        "file.txt/x": "file.txt above it is a file",
        "dangling": "is a link that leads nowhere",
        "dangling/x": "dangling above it is a link that leads nowhere",
    }.items():
        arguments = [value if part == "{}" else part for part in form.split()]
        refused(odd(command, *arguments), 2, why, value, form.split()[-2])


def test_convert_knows_a_file_from_a_folder_by_its_name(attnseg, tmp_path):
    write_image(tmp_path / "a.nii.gz", IMAGE)
    (tmp_path / "folder.nrrd").mkdir()
    refused(attnseg("convert", "a.nii.gz", "folder.nrrd"), 2, "is a folder")
    refused(attnseg("convert", "a.nii.gz", "a.nii.gz/out"), 2, "above it is a file")


def test_no_file_takes_the_place_of_a_device(tmp_path, monkeypatch):
    # Own finding: `--json /dev/null` put a file in the place of the device.
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="is a pipe or a device, which no file can replace"):
        write_text(tmp_path / "pipe", "x")
    assert not (tmp_path / "pipe").is_file()
    for name in ("/dev/stdout", "/dev/null", "/proc/self/fd/1"):
        assert "is a pipe or a device" in why_no_file(Path(name))
    # A link to such a place is one as well; a link to a file is replaced, as ever.
    (tmp_path / "link").symlink_to("pipe")
    assert why_no_file(tmp_path / "link")
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").symlink_to("file")
    write_text(tmp_path / "other", "y")
    assert not (tmp_path / "other").is_symlink()
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("train", "data", "--fold", "٣"), 2, "must be a number from 0"),
        (("train", "data", "--fold", "²"), 2, "must be a number from 0"),
        (("train", "data", "--fold", "00"), 2, "must be a number from 0"),
        (("train", "data", "--fold", "1" * 30), 2, "must be a number from 0"),
        (("train", "data", "--fold", "-1"), 2, "must be a number from 0"),
        (("train", "data", "--epochs", "0"), 1, "training.epochs"),
        (("train", "data", "--epochs", "-1"), 1, "training.epochs"),
        (("train", "data", "--epochs", str(10**30)), 1, "training.epochs"),
        (("train", "data", "--epochs", "9" * 250), 1, "training.epochs"),
        (("train", "data", "--max-minutes", "nan"), 1, "training.max_minutes"),
        (("train", "data", "--max-minutes", "inf"), 1, "training.max_minutes"),
        (("train", "data", "--max-minutes", "0"), 1, "training.max_minutes"),
        (("train", "data", "--max-minutes", "1e300"), 1, "training.max_minutes"),
        (("train", "data", "--seed", "-1"), 1, "training.seed"),
        (("train", "data", "--seed", str(2**32)), 1, "training.seed"),
        (("train", "data", "--workers", str(10**9)), 1, "training.workers"),
        (("train", "--set", "data.root=''"), 1, "data.root: is empty"),
        (("train", "--set", "data.root=~/x"), 1, "~ is not expanded"),
        (("train", "--set", 'data.root="a\\0b"'), 1, "data.root"),
        (("train", "data", "--set", "data.labels=''"), 1, "data.labels"),
        (("train", "data", "--set", "data.images=['']"), 1, "data.images"),
        (("train", "data", "--set", "="), 1, "must be key=value"),
        (("demo", "--minutes", "nan"), 1, "training.max_minutes"),
        (("demo", "--minutes", "-1"), 1, "training.max_minutes"),
        (("evaluate", "data", "data", "--tolerance-mm", "nan"), 1, "data"),
        (("predict", "data", "--max-ram", "0"), 2, "--max-ram 0: must be a size"),
        (("predict", "data", "--max-ram", "-1G"), 2, "must be a size"),
        (("predict", "data", "--max-ram", "1E"), 2, "must be a size"),
        (("predict", "data", "--max-ram", "0.0001K"), 2, "must be a size"),
        (("predict", "data", "--max-ram", "9" * 200 + "G"), 2, "must be a size"),
        (("predict", "data", "--max-ram", "٤G"), 2, "must be a size"),
        (("predict", "data", "--max-ram", "nan"), 2, "must be a size"),
        (("attention", "data", "--max-ram", "inf"), 2, "must be a size"),
        (("plan", "data", "--gpu-memory", "0"), 2, "must be a size"),
        (("predict", "data", "-m", "nowhere/"), 1, "nowhere"),
        (("predict", "*.nothing", "-m", "nowhere"), 1, "nowhere"),
    ],
)
def test_numbers_and_settings_out_of_range(odd, arguments, code, part):
    refused(odd(*arguments), code, part)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("predict", "data", "--overlap", "nan"), "--overlap"),
        (("predict", "data", "--overlap", "1"), "--overlap"),
        (("predict", "data", "--workers", "0"), "--workers"),
        (("attention", "data", "--overlap", "nan"), "--overlap"),
        (("attention", "data", "--seed", "-1"), "--seed"),
        (("attention", "data", "--seed", str(2**32)), "--seed"),
        (("attention", "data", "--replaced", "-1"), "--replaced"),
        (("train", "data", "--epochs", "x"), "--epochs"),
        (("train", "data", "--epochs", "1.5"), "--epochs"),
    ],
)
def test_numbers_that_the_parser_refuses(odd, arguments, option):
    result = odd(*arguments)
    assert result.code == 2
    assert f"'{option}'" in result.err


@pytest.mark.parametrize(
    "shard",
    [
        "1/0",
        "0/1",
        "2/1",
        "1/²",
        "١/٢",
        "-1/2",
        "1/2/3",
        "1 / 2",
        "9" * 5000 + "/1",
        "1/" + "9" * 30,
    ],
)
def test_parts_of_a_cohort_that_are_none(shard):
    with pytest.raises(UsageError, match="must be i/n with i from 1 to n"):
        take_shard([], shard)


def test_a_message_holds_no_control_character(attnseg, tmp_path):
    # It names files, and what a file is called can turn a terminal upside down.
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/\x1b[2Ja.nii.gz").write_bytes(b"x")
    result = attnseg("evaluate", "masks", "masks")
    assert result.code == 1
    assert "\x1b" not in result.err
    assert "\\x1b[2Ja.nii.gz" in result.err


def test_a_name_in_no_encoding_and_one_in_a_circle_are_only_names(attnseg, tmp_path):
    latin = tmp_path / os.fsdecode(b"m\xfcller")
    predicted(latin, "a")
    predicted(tmp_path / "truth", "a")
    (tmp_path / "truth/circle").symlink_to("circle")
    assert attnseg("evaluate", latin, "truth").code == 0
