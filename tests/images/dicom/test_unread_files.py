"""Files in the place of a series that cannot be read: counted, named, and never left out."""

import gzip
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import RLELossless, generate_uid
from source_series import write_series

from attnseg.errors import DataError
from attnseg.images import Geometry, Image, find_source, read_image, read_outline
from attnseg.images.dicom import choose_series, find_series
from attnseg.inference.sources import find_scans

GRID = Geometry((7, 6, 8), np.diag([-0.8, -0.9, 2.5, 1.0]))
VALUES = np.random.default_rng(0).integers(-1000, 3000, GRID.shape).astype(np.int16)


def read(place: Path, series: str | None = None) -> Image:
    return read_image(find_source(place, series=series)[0])


def make(folder: Path, suffix: str = ".dcm", **options) -> list[Path]:
    """A series of eight slices, in order along K."""
    write_series(folder, GRID, values=VALUES, **options)
    paths = sorted(folder.iterdir(), key=lambda path: int(path.stem.split("-")[1]))
    return [path.rename(path.with_name(f"IM{k:04d}{suffix}")) for k, path in enumerate(paths)]


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def linked(target: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return spoil


def written(content: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.write_bytes(content)

    return spoil


def cut(length: int) -> Callable[[Path], None]:
    """To so many bytes; negative: so many lost at the end."""

    def spoil(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:length])

    return spoil


def unmarked(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:128] + b"XXXX" + content[132:])


ANNEX = r"a link or pointer of git-annex .*`git annex get`"
SPOILED = {
    "links into the annex": (linked("../.git/annex/objects/x9/25/IM.dcm"), ANNEX),
    "links that lead nowhere": (linked("gone.dcm"), "a link that leads nowhere"),
    "empty": (emptied, r"empty .*copy each again"),
    "pointers of git-annex": (written(b"/annex/objects/SHA256E-s9--a.dcm\n"), ANNEX),
    "links as text": (written(b"../.git/annex/objects/x9/25/SHA256E-s9--a/SHA256E-s9--a"), ANNEX),
    "pointers of git-lfs": (
        written(b"version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 9\n"),
        r"a git-LFS pointer.*`git lfs pull`",
    ),
    "packed on their own": (written(gzip.compress(bytes(900))), "packed on its own.*unpack each"),
    "cut in the pixels": (cut(-30), "cut short"),
    "cut in the header": (cut(700), "cut short"),
    "cut in the meta information": (cut(180), "cut short"),
    "cut in the preamble": (cut(60), "not DICOM, or cut short"),
    "a preamble without the mark": (unmarked, "not DICOM, or cut short"),
}


@pytest.mark.parametrize("suffix", [".dcm", ""])
@pytest.mark.parametrize("kind", SPOILED)
def test_a_series_with_files_that_cannot_be_read_is_refused(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    """The cases `links` and `empty_dcm`, and what fails in the same way."""
    spoil, reason = SPOILED[kind]
    for path in make(tmp_path / "ct", suffix)[5:]:
        spoil(path)
    with pytest.raises(DataError, match=reason) as error:
        read(tmp_path / "ct")
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'ct'}: 3 of 8 files cannot be read, and without them ")
    assert f"(3: IM0005{suffix}, IM0006{suffix}, IM0007{suffix})" in text
    assert "\n" not in text
    (series,) = find_series(tmp_path / "ct")
    assert len(series.files) == 5
    for reader in (read_image, read_outline):
        with pytest.raises(DataError, match="3 of 8 files"):
            reader(series if reader is read_image else (series,))


def test_one_of_several_places_is_a_scan_with_a_reason(tmp_path: Path) -> None:
    """A folder of a cohort whose files are all links without content does not vanish."""
    make(tmp_path / "a")
    for path in make(tmp_path / "b", suffix=""):
        linked("../.git/annex/objects/b/IM")(path)
    for path in make(tmp_path / "c"):
        emptied(path)
    good, links, empty = find_scans([tmp_path], num_channels=1)
    assert (good.name, good.reason) == ("a", "")
    assert "8 files cannot be read: a link or pointer of git-annex" in links.reason
    assert "(8: IM0000, IM0001, IM0002, …)" in links.reason
    assert "8 files cannot be read: empty" in empty.reason


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_files_without_preamble_or_suffix_are_read(
    tmp_path: Path, implicit: bool, whole: bool
) -> None:
    """Whole series, or some files among others, that were stored as bare data sets."""
    for path in make(tmp_path / "ct", suffix="")[0 if whole else 5 :]:
        bare = Dataset(pydicom.dcmread(path))
        bare.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    (scan,) = find_scans([tmp_path], num_channels=1)
    assert scan.name == "ct"
    np.testing.assert_array_equal(np.sort(read(tmp_path / "ct").array[0], axis=None),
                                  np.sort(VALUES, axis=None))  # fmt: skip


def test_meta_information_without_preamble_is_read(tmp_path: Path) -> None:
    for path in make(tmp_path / "ct", suffix=""):
        path.write_bytes(path.read_bytes()[132:])
    assert read(tmp_path / "ct").geometry.shape == GRID.shape


def test_what_is_plainly_no_dicom_refuses_nothing(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ("README.txt", "readme", "thumbs.db", "a.xml", "b.json", "DICOMDIR", ".DS_Store"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "notes").write_text("Scanned on Monday.\n")
    (tmp_path / "._IM0001.dcm").write_bytes(bytes(200))
    (tmp_path / ".git").mkdir()
    shutil.copy(tmp_path / "IM0001.dcm", tmp_path / ".git")
    image = read(tmp_path)
    assert image.geometry.shape == GRID.shape
    assert image.notes == ()


@pytest.mark.parametrize("suffix", ["", ".img0"])
def test_a_text_that_is_named_as_a_slice_stands_in_its_place(tmp_path: Path, suffix: str) -> None:
    """A server's error page, saved under the name of the slice that it did not send."""
    make(tmp_path / "ct", suffix)
    (tmp_path / "ct" / f"IM0007{suffix}").write_text("<!DOCTYPE html><html>404 Not Found</html>")
    (tmp_path / "ct" / "notes").write_text("Scanned on Monday.\n")
    with pytest.raises(DataError, match=rf"1 of 8 .* not DICOM, .*\(1: IM0007{suffix}\)"):
        read(tmp_path / "ct")


def test_a_folder_or_archive_without_dicom_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "scan.nii.gz").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("inner.zip", b"PK")
    for place, name in ((tmp_path / "A", "scan.nii.gz"), (tmp_path / "all.zip", "inner.zip")):
        with pytest.raises(DataError) as error:
            find_series(place)
        assert str(error.value) == (
            f"{place}: holds no DICOM file but 1 other scan(s) or archive(s) ({name}); give each "
            "by its own name"
        )


def test_scans_and_archives_beside_the_images_are_told(tmp_path: Path) -> None:
    make(tmp_path / "ct")
    for name in ("ct.nii.gz", "preview.JPG", "rest.zip"):
        (tmp_path / "ct" / name).write_bytes(b"\xff\xd8\xff" + bytes(200))
    (note,) = read(tmp_path / "ct").notes
    assert note.startswith("not read: 3 file(s) beside the DICOM images (ct.nii.gz, preview.JPG, ")
    (scan,) = find_scans([tmp_path / "ct"], num_channels=1)
    assert scan.name == "ct", "eight DICOM files are the scan, and not the three others"


def test_files_with_the_suffix_of_the_images_may_belong_to_them(tmp_path: Path) -> None:
    make(tmp_path, suffix=".img0")
    emptied(tmp_path / "IM0007.img0")
    emptied(tmp_path / "IM0008.bak")
    with pytest.raises(DataError, match=r"1 of 8 files cannot be read.*\(1: IM0007\.img0\)"):
        read(tmp_path)


def test_slices_that_were_packed_one_by_one_are_counted(tmp_path: Path) -> None:
    for path in make(tmp_path)[6:]:
        path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    (tmp_path / "protocol.txt.gz").write_bytes(gzip.compress(b"text"))
    with pytest.raises(DataError, match=r"2 of 8 .*\(2: IM0006\.dcm\.gz, IM0007\.dcm\.gz\); unp"):
        read(tmp_path)


def test_several_reasons_are_told_each(tmp_path: Path) -> None:
    paths = make(tmp_path)
    emptied(paths[1])
    cut(-1)(paths[2])
    linked("nowhere")(paths[3])
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: 3 of 8 files cannot be read, and without them slices would be missing: "
        "empty (1: IM0001.dcm), cut short (1: IM0002.dcm), a link that leads nowhere (1: "
        "IM0003.dcm); copy each again from its source, copy what each should lead to, or move away "
        "what is no part of the scan"
    )


def test_unreadable_files_of_another_series_are_told_and_refuse_only_that(tmp_path: Path) -> None:
    make(tmp_path / "study" / "a")
    for path in make(tmp_path / "study" / "b")[3:]:
        emptied(path)
    cut(700)(tmp_path / "study" / "b" / "IM0000.dcm")  # tells of which series it is
    first, second = find_series(tmp_path / "study")
    assert (len(first.files), first.fault, len(second.files)) == (8, "", 2)
    assert "6 of 8 files cannot be read" in second.fault
    series, note = choose_series([first, second])
    assert series is first
    assert "took the largest" in note
    assert "of other series 6 files cannot be read" in read_image(first).notes[0]
    with pytest.raises(DataError, match="6 of 8 files"):
        choose_series([first, second], second.uid)


def test_a_folder_without_a_readable_image_may_hold_slices_of_any_series(tmp_path: Path) -> None:
    """Exports put the files of one series into folders of a hundred each."""
    for path in make(tmp_path)[5:]:
        (tmp_path / "more").mkdir(exist_ok=True)
        path.write_bytes(b"")
        path.rename(tmp_path / "more" / path.name)
    with pytest.raises(DataError, match=r"3 of 8 files .*more/IM0005\.dcm"):
        read(tmp_path)


def test_links_to_folders_are_followed_and_no_folder_is_read_twice(tmp_path: Path) -> None:
    for path in make(tmp_path / "store" / "x")[4:]:
        path.rename(tmp_path / "store" / path.name)
    study = tmp_path / "study" / "ct"
    study.mkdir(parents=True)
    for path in sorted((tmp_path / "store").glob("*.dcm")):
        path.rename(study / path.name)
    (study / "first half").symlink_to(tmp_path / "store" / "x")
    (study / "again").symlink_to(study)
    (study / "up").symlink_to(tmp_path)
    assert read(study).geometry.shape == GRID.shape
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "p1").symlink_to(study)
    (tmp_path / "cohort" / "p2").symlink_to(tmp_path)
    assert [scan.name for scan in find_scans([tmp_path / "cohort"], num_channels=1)] == ["p1"]


def archived(folder: Path, spoil: Callable[[zipfile.ZipInfo, bytes], bytes]) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.iterdir()):
            info = zipfile.ZipInfo(f"s/{path.name}")
            archive.writestr(info, spoil(info, path.read_bytes()))
        archive.writestr("__MACOSX/s/._IM0001.dcm", b"")
    return folder.with_suffix(".zip")


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (lambda info, content: b"", "empty"),
        (lambda info, content: content[:-9], "cut short"),
        (lambda info, content: b"/annex/objects/SHA256E-s9--a.dcm", "git-annex"),
        (
            lambda info, content: setattr(info, "external_attr", 0o120777 << 16) or b"../a.dcm",
            "a link packed into an archive",
        ),
    ],
)
def test_members_of_archives(tmp_path: Path, member, reason: str) -> None:
    make(tmp_path / "ct")
    place = archived(
        tmp_path / "ct",
        lambda info, content: member(info, content) if "IM0007" in info.filename else content,
    )
    with pytest.raises(DataError, match=rf"1 of 8 files .*{reason}.*\(1: s/IM0007\.dcm\)"):
        read(place)


def test_encrypted_members(tmp_path: Path) -> None:
    make(tmp_path / "ct")
    place = archived(tmp_path / "ct", lambda info, content: content)
    content = bytearray(place.read_bytes())
    entry = content.find(b"PK\1\2")
    content[entry + 8] |= 1  # of its flags, in the archive's directory
    place.write_bytes(content)
    with pytest.raises(DataError, match=r"1 of 8 files .*encrypted.*unpack the archive first"):
        read(place)


def test_packed_pixels_that_end_early_are_known_before_they_are_unpacked(tmp_path: Path) -> None:
    def pack(image: Dataset, index: int) -> None:
        image.compress(RLELossless, generate_instance_uid=False)

    paths = make(tmp_path, change=pack)
    assert read(tmp_path).geometry.shape == GRID.shape
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    assert paths[3].read_bytes().endswith(end)
    cut(-len(end))(paths[3])
    cut(-40)(paths[4])
    with pytest.raises(DataError, match=r"2 of 8 .*cut short \(2: IM0003\.dcm, IM0004\.dcm\)"):
        read(tmp_path)


def test_a_single_file_says_what_it_is(tmp_path: Path) -> None:
    path = make(tmp_path)[0]
    for content, reason in (
        (b"", "the file is empty; copy it again"),
        (b"/annex/objects/SHA256E-s9--a.dcm\n", r"this is a link or pointer of git-annex"),
        (b"<html>404</html>", "this is not DICOM, or cut short"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason):
            find_scans([path], num_channels=1)
    linked("gone")(path)
    with pytest.raises(DataError, match="a link that leads nowhere"):
        find_scans([path], num_channels=1)


def test_files_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may open all, and tests may run as root: the refusal is put on."""
    closed = make(tmp_path)[2]
    opened = Path.open

    def refuse(path: Path, *arguments: object, **options: object) -> object:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"not open to this user \(1: IM0002\.dcm\)"):
        read(tmp_path)


def test_the_odd_slice_is_named(tmp_path: Path) -> None:
    def change(kind: str) -> Callable[[Dataset, int], None]:
        def edit(image: Dataset, index: int) -> None:
            if index != 3:
                return
            if kind == "bits":
                image.BitsAllocated = image.BitsStored = 8
                image.HighBit = 7
                image.PixelData = bytes(7 * 6)
            elif kind == "turned":
                image.ImageOrientationPatient = [0, 1, 0, -1, 0, 0]
            elif kind == "view":
                image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
            else:
                image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
                image.SamplesPerPixel, image.Rows = 3, 9
                del image.ImagePositionPatient

        return edit

    for kind, reason in (
        ("bits", r"several numbers of bits a pixel \(7 × 6 of 8 bits, 7 × 6 of 16 bits\)"),
        ("turned", "turned in their plane"),
        ("view", "look in 2 directions"),
    ):
        make(tmp_path / kind, change=change(kind))
        with pytest.raises(DataError, match=rf"{reason}.*unlike 7 others: IM0003\.dcm.*move away"):
            read(tmp_path / kind)
    make(tmp_path / "capture", change=change("capture"))
    with pytest.raises(DataError, match=r"IM0003\.dcm: a screen capture .*move this file away"):
        read(tmp_path / "capture")


def again(path: Path, name: str, **attributes: object) -> None:
    image = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    image.save_as(path.with_name(name))


def test_slices_sent_twice_are_no_time_points(tmp_path: Path) -> None:
    paths = make(tmp_path)
    again(paths[2], "a.dcm", SOPInstanceUID=generate_uid())
    again(paths[5], "b.dcm", SOPInstanceUID=generate_uid())
    with pytest.raises(DataError, match="2 of its 10 images were sent twice") as error:
        read(tmp_path)
    assert "one of IM0002.dcm and a.dcm, IM0005.dcm and b.dcm" in str(error.value)
    again(paths[6], "c.dcm", SOPInstanceUID=generate_uid(), PixelData=bytes(7 * 6 * 2))
    with pytest.raises(DataError, match=r"11 images in 8 places: time points.*IM0002\.dcm and a"):
        read(tmp_path)


def test_copies_are_named(tmp_path: Path) -> None:
    shutil.copy(make(tmp_path)[4], tmp_path / "copy of IM0004.dcm")
    with pytest.raises(DataError, match=r"1 of its 9 images are copies of others; remove them, one "
                       r"of IM0004\.dcm and copy of IM0004\.dcm"):  # fmt: skip
        read(tmp_path)


def test_damaged_pixels_are_named_by_their_file(tmp_path: Path) -> None:
    def pack(image: Dataset, index: int) -> None:
        image.compress(RLELossless, generate_instance_uid=False)

    path = make(tmp_path, change=pack)[4]
    content = bytearray(path.read_bytes())
    place = content.rfind(struct.pack("<HH", 0xFFFE, 0xE000))
    content[place + 8 : place + 72] = b"\xff" * 64  # the header of its fragment
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"IM0004\.dcm: damaged"):
        read(tmp_path)


@pytest.mark.parametrize("implicit", [True, False])
def test_wherever_a_file_is_cut_its_series_is_refused(tmp_path: Path, implicit: bool) -> None:
    path = make(tmp_path, suffix="")[2]
    for other in sorted(tmp_path.iterdir())[3:]:
        other.unlink()
    if implicit:
        bare = Dataset(pydicom.dcmread(path))
        bare.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    whole = path.read_bytes()
    for length in range(0, len(whole), 11):
        path.write_bytes(whole[:length])
        (series,) = find_series(tmp_path)
        assert series.files == ("IM0000", "IM0001"), length
        assert "1 of 3 files cannot be read" in series.fault, length
