"""Paths in written files: what is recorded leads back, and pages name no folder of the machine."""

from pathlib import Path

import pytest

from attnseg.whereabouts import all_told, from_here, recalled, recorded, shown, told


def test_what_is_recorded_leads_back_wherever_both_are_moved(tmp_path: Path) -> None:
    for part in ("runs/a", "data/scans"):
        (tmp_path / "old" / part).mkdir(parents=True)
    scan = tmp_path / "old" / "data" / "scans" / "ct.nii.gz"
    text = recorded(scan, tmp_path / "old" / "runs" / "a")
    assert text == "../../data/scans/ct.nii.gz"
    assert recalled(text, tmp_path / "old" / "runs" / "a") == scan
    (tmp_path / "old").rename(tmp_path / "new")
    assert recalled(text, tmp_path / "new" / "runs" / "a") == (
        tmp_path / "new" / "data" / "scans" / "ct.nii.gz"
    )


def test_a_folder_that_is_a_link_records_the_same(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er" / "run").mkdir(parents=True)
    (tmp_path / "run").symlink_to(tmp_path / "deep" / "er" / "run")
    scan = tmp_path / "ct.nii.gz"
    assert recorded(scan, tmp_path / "run") == "../../../ct.nii.gz"
    assert recalled(recorded(scan, tmp_path / "run"), tmp_path / "run") == scan


def test_up_from_a_link_is_up_from_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er" / "data").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    scan = tmp_path / "deep" / "er" / "ct.nii.gz"
    scan.touch()
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er" / "data")
    text = recorded(tmp_path / "link" / ".." / "ct.nii.gz", tmp_path / "run")
    assert text == "../deep/er/ct.nii.gz"
    assert recalled(text, tmp_path / "run") == scan


def test_absolute_paths_of_older_files_stay(tmp_path: Path) -> None:
    assert recalled("/data/ct.nii.gz", tmp_path) == Path("/data/ct.nii.gz")


def test_paths_from_the_current_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_here(tmp_path / "data" / "a") == Path("data/a")
    assert from_here(Path("/elsewhere/a")) == Path("/elsewhere/a")


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("data/../a", "data/../a"),  # as it was typed
        ("{0}/me/work/pages/masks/a.png", "masks/a.png"),
        ("{0}/me/work/scans/a.png", "../scans/a.png"),
        ("{0}/me/secret/deep/a.png", "a.png"),
        ("{0}/me/work/pages", "pages"),
        ("/srv/hospital/a.png", "a.png"),
    ],
)
def test_what_a_page_names(tmp_path: Path, path: str, named: str) -> None:
    folder = tmp_path / "me" / "work" / "pages"
    folder.mkdir(parents=True)
    assert shown(path.format(tmp_path), folder) == named


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/srv/hospital/a.nii.gz: cut short", "a.nii.gz: cut short"),
        ("made of '/srv/x/a.nii', and (/srv/y/b.nii)", "made of 'a.nii', and (b.nii)"),
        ("/srv/Jane Doe/x y/a b.nii: cut short", "a b.nii: cut short"),
        (r"C:\Users\me\a.nii: cut short", "a.nii: cut short"),
        ("<td>/srv/x/a.nii</td><br/><p>1/2 mm/px</p>", "<td>a.nii</td><br/><p>1/2 mm/px</p>"),
        (r"\\server\Jane Doe\a b.nii: cut short", "a b.nii: cut short"),
        (r"made of \\server\x\a.nii", "made of a.nii"),
        ("2024/01/02, 3/4, left/right kidney", "2024/01/02, 3/4, left/right kidney"),
        ("--ref=/srv/x/a.nii, b=1,/srv/y/b.nii", "--ref=a.nii, b=1,b.nii"),
        ("file:///srv/x/a.nii is gone", "a.nii is gone"),
        ("see https://example.org/a/b/c", "see https://example.org/a/b/c"),
        ("data:image/png;base64,/9j/4A+/ab/cd=", "data:image/png;base64,/9j/4A+/ab/cd="),
        ("scans/a.nii and ../b/c.nii", "scans/a.nii and ../b/c.nii"),
        ("left/right, and/or", "left/right, and/or"),
    ],
)
def test_absolute_paths_in_texts_lose_their_folders(tmp_path: Path, text: str, left: str) -> None:
    assert told(text, tmp_path) == left


def test_places_with_any_signs_are_found(tmp_path: Path, monkeypatch) -> None:
    place = tmp_path / "Jane & John's scans" / "a b"
    text = f"{place}/c.nii: cut short; {place} {place}-2"
    page = tmp_path / "pages"
    assert told(text, page, [place]).startswith("../Jane & John's scans/a b/c.nii: cut short; ../")
    html = "<p>" + str(place).replace("&", "&amp;").replace("'", "&#x27;") + "</p>"
    far = tmp_path / "one" / "two" / "pages"
    assert told(html, far, [place]) == "<p>a b</p>"
    monkeypatch.chdir(tmp_path)
    assert told(f"{tmp_path}/x y/c.nii: cut short", far) == "x y/c.nii: cut short"


def test_plain_data_is_changed_in_its_texts_alone(tmp_path: Path) -> None:
    told_ = all_told({"/a/b/c": ["/a/b/c", 1, None, ("/a/b/c",)]}, tmp_path)
    assert told_ == {"/a/b/c": ["c", 1, None, ["c"]]}
