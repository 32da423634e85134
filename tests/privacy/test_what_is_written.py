"""What attnseg writes holds what docs/security.md says, and no more.

The scans name an invented patient wherever their formats have room for it; their folder lies below
folders of invented names, on a machine and of a user of invented names.
"""

import base64
import gzip
import io
import platform
import socket
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import EVERYTHING, PREDICTING, Done, run_all
from invented import DATASET_NAME, MACHINE, PATIENT, SCAN_NAME, USER, write_all, write_model
from page import Row, read_rows
from written import found_in, layers

from attnseg.cli.app import main
from attnseg.locks import LOCK_FILE, FolderLock

HOST = "quarrystone-workstation"
MARKS = {
    **{text: kind for kind, texts in PATIENT.items() for text in texts},
    SCAN_NAME: "name of a scan",
    DATASET_NAME: "name of the data set",
    MACHINE: "path of the machine",
    USER: "user",
    HOST: "host",
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch) -> Path:
    """The invented scans in the invented user's folder."""
    root = tmp_path / MACHINE / USER
    write_all(root)
    write_model(root / "model.safetensors")
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    monkeypatch.setenv("HOME", str(root / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "home" / ".cache"))
    monkeypatch.setenv("COLUMNS", "1000")  # no path in a table is broken over lines
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(platform, "node", lambda: HOST)
    # Beside the scans, so that no path is short for being typed from above them.
    (root / "out" / "here").mkdir(parents=True)
    monkeypatch.chdir(root / "out" / "here")
    return root


@pytest.fixture
def attnseg(monkeypatch, capsys) -> Callable:
    def run(*words: str) -> SimpleNamespace:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["attnseg", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


def row_of(rows: Sequence[Row], command: str, path: Path) -> Row | None:
    return next((row for row in rows if row.matches(command, path)), None)


def faults_of(done: Sequence[Done], root: Path) -> list[str]:
    """Files without a row, and what files hold that their row does not say."""
    rows, faults = read_rows(), []
    for each in done:
        for path in each.files:
            shown = path.relative_to(root)
            row = row_of(rows, each.command, shown)
            if row is None:
                faults.append(f"{each.command}: {shown} has no row")
                continue
            held = found_in(path, MARKS)
            held |= {kind for text, kind in MARKS.items() if text in str(shown)}
            if more := held - row.allowed:
                faults.append(f"{each.command}: {shown} holds {sorted(more)}")
    return faults


def faults_of_prints(done: Sequence[Done], root: Path) -> list[str]:
    """What is printed: paths as they were typed, names of scans, series; nothing else."""
    wanted = {"name of a scan", "name of the data set", "series description"}
    return [
        f"{each.line}: {text} is printed"
        for each in done
        for text, kind in MARKS.items()
        if kind not in wanted and text in each.said.replace(str(root), "")
    ]


def test_a_prediction_holds_what_its_rows_say(machine: Path, attnseg: Callable) -> None:
    done = run_all(PREDICTING, machine, attnseg)
    assert not faults_of(done, machine)
    assert not faults_of_prints(done, machine)


@pytest.mark.slow
def test_every_file_of_every_command_has_its_row(machine: Path, attnseg: Callable) -> None:
    done = run_all(EVERYTHING, machine, attnseg)
    assert not faults_of(done, machine)
    assert not faults_of_prints(done, machine)
    # What the standard demands is there: the search finds what there is to be found.
    (seg,) = (machine / "out" / "seg").glob("*.dcm")
    assert found_in(seg, MARKS) >= {"patient's name", "birth date", "UID of DICOM"}
    # And every row its file.
    commands = {each.command for each in done}
    idle = [
        f"{row.command}: {pattern}"
        for row in read_rows()
        for pattern in row.patterns
        if row.command in commands
        and not any(
            Row(row.command, (pattern,), row.allowed).matches(each.command, path)
            for each in done
            for path in each.files
        )
    ]
    assert idle == ["train: fold*/attention.json"]  # which only `attnseg demo` writes


def test_the_lock_of_a_folder_names_the_host_while_it_is_held(machine: Path) -> None:
    path = machine / "out" / LOCK_FILE
    with FolderLock(path.parent, command="attnseg train") as lock:
        assert lock.claim("fold0") is None
        row = row_of(read_rows(), "train", path.relative_to(machine))
        assert row is not None
        assert found_in(path, MARKS) == row.allowed == {"host"}
    assert not path.exists()


@pytest.mark.parametrize("name", ["Quernstone-00.nii.gz", "Quernstone-02.jpg"])
def test_the_search_finds_what_sources_hold(machine: Path, name: str) -> None:
    (path, *_) = machine.rglob(name)
    assert "patient's name" in found_in(path, MARKS)


def test_the_search_looks_into_what_is_packed(tmp_path: Path) -> None:
    text = b"x" * 60 + b"Zzyzx"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", text)
    page = b'<img src="data:image/png;base64,' + base64.b64encode(gzip.compress(text * 9)) + b'">'
    for packed in (gzip.compress(text), archive.getvalue(), page, gzip.compress(page)):
        assert any(b"Zzyzx" in layer for layer in layers(packed))
        assert b"Zzyzx" not in packed
    (tmp_path / "a").write_bytes("Zzyzx".encode("utf-16-le"))
    assert found_in(tmp_path / "a", MARKS) == {"patient's name"}
    (tmp_path / "a").write_text('"S\\u00f8renhjelm"')
    assert found_in(tmp_path / "a", MARKS) == {"patient's name"}
