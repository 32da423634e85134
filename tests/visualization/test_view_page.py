"""The page of `attnseg view`: what it holds, and what a browser makes of it."""

import base64
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from chromium import chromium_tab, find_chromium

from attnseg.errors import DataError, UsageError
from attnseg.images import Geometry, Image, write_labels, write_volumes
from attnseg.inference.manifest import Manifest, Outcome
from attnseg.view import view
from attnseg.visualization.packed import ranks
from attnseg.visualization.view_page import view_page

SHAPE = (20, 24, 16)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])


def image(array: np.ndarray, affine: np.ndarray = AFFINE) -> Image:
    i, j, k = array.shape[1:]
    return Image(array, Geometry((i, j, k), affine))


def scan() -> Image:
    values = np.random.default_rng(0).integers(20, 200, (1, *SHAPE))
    return image(values.astype(np.float32))


def mask(shift: int = 0) -> Image:
    labels = np.zeros((1, *SHAPE), dtype=np.int16)
    labels[0, 4 + shift : 10 + shift, 6:18, 4:12] = 2
    labels[0, 12:16, 6:18, 4:12] = 7
    return image(labels)


def embedded(page: str, name: str, folder: Path) -> nib.Nifti1Image:
    match = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', page)
    assert match
    path = folder / f"{name}.nii.gz"
    path.write_bytes(base64.b64decode(match[1]))
    return nib.load(path)


def facts(page: str) -> dict:
    match = re.search(r'<script type="application/json" id="facts">(.*?)</script>', page)
    assert match
    return json.loads(match[1])


def test_embedded_volumes_are_those_given(tmp_path: Path) -> None:
    alpha = np.random.default_rng(1).random((2, *SHAPE), dtype=np.float32)
    page = view_page(scan(), mask(), attention=image(alpha), compare=mask(1))
    stored = embedded(page, "scan", tmp_path)
    np.testing.assert_array_equal(np.asarray(stored.dataobj), scan().array[0])
    assert stored.get_data_dtype() == np.int16
    np.testing.assert_array_equal(stored.affine, AFFINE)
    for name, given in (("mask", mask()), ("compare", mask(1))):
        stored = embedded(page, name, tmp_path)
        values = np.array([0, 2, 7])[np.asarray(stored.dataobj)]
        np.testing.assert_array_equal(values, given.array[0])
        np.testing.assert_array_equal(stored.affine, AFFINE)
    stored = embedded(page, "attention", tmp_path)
    np.testing.assert_allclose(stored.get_fdata(), np.moveaxis(alpha, 0, -1), atol=0.5001 / 255)


def test_colour_pictures_keep_their_colours(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (3, 9, 7, 1))
    picture = Image(
        pixels.astype(np.float32), Geometry((9, 7, 1), np.eye(4)), path=Path("cells.png")
    )
    stored = np.asarray(embedded(view_page(picture), "scan", tmp_path).dataobj)
    for channel, name in enumerate("RGB"):
        np.testing.assert_array_equal(stored[name], pixels[channel])


def test_volumes_dice_and_names() -> None:
    found = facts(view_page(scan(), mask(), names={2: "liver"}, compare=mask(1)))["labels"]
    assert [label["name"] for label in found] == ["liver", "label 7"]
    # 6 x 12 x 8 voxels of 9 mm³; of six planes five are in both.
    assert found[0]["sizes"] == ["5.18", "5.18"]
    assert found[0]["dice"] == "0.833"
    assert found[0]["counts"] == "voxels: 480 both, 96 only first, 96 only second"
    assert found[1]["dice"] == "1.000"


def test_ct_gets_the_soft_tissue_window() -> None:
    array = scan().array.copy()
    array[0, 0] = -1000
    found = facts(view_page(image(array)))
    assert found["windows"] == [[-160, 240]]
    assert found["ct"]


def test_ranks() -> None:
    labels = np.array([[-3, 0], [9, 4]])
    np.testing.assert_array_equal(ranks(labels, [-3, 4, 9]), [[1, 0], [3, 2]])


def test_the_page_loads_nothing_and_shows_names_as_text() -> None:
    page = view_page(scan(), mask(), names={2: "</script><b>"})
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<link|<img|<iframe|\ssrc=|\shref=|url\(|@import", markup)
    assert "</script><b>" not in page
    assert facts(page)["labels"][0]["name"] == "</script><b>"


def test_what_no_browser_can_draw_is_thinned(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 99, (1, 4100, 5, 3)).astype(np.float32)
    labels = np.zeros(values.shape, dtype=np.uint8)
    labels[0, 301:900, :, 1:] = 4
    page = view_page(image(values), image(labels), compare=image(labels))
    stored = embedded(page, "scan", tmp_path)
    np.testing.assert_array_equal(np.asarray(stored.dataobj), values[0, ::3])
    np.testing.assert_allclose(
        stored.affine @ [100, 2, 1, 1], AFFINE @ [300, 2, 1, 1], rtol=1e-6, atol=1e-6
    )
    shown = np.asarray(embedded(page, "mask", tmp_path).dataobj)
    np.testing.assert_array_equal(shown, labels[0, ::3] > 0)
    assert embedded(page, "difference", tmp_path).shape == (1367, 5, 3)
    told = facts(page)
    assert told["steps"] == [3, 1, 1]
    assert "of 4100 × 5 × 3 voxels, 1367 × 5 × 3 are shown" in told["thinned"]
    assert told["labels"][0]["counts"].startswith("voxels: 5,990 both, 0 only first")
    assert facts(view_page(scan()))["thinned"] == ""


def test_other_grids_are_refused() -> None:
    small = image(np.zeros((1, 3, 4, 5), dtype=np.int16))
    with pytest.raises(DataError, match=r"\(3, 4, 5\).*\(20, 24, 16\); give the mask"):
        view_page(scan(), small)
    moved = image(mask().array, AFFINE + shift_mm(9))
    with pytest.raises(DataError, match="9 mm off it; give the mask"):
        view_page(scan(), moved)
    with pytest.raises(DataError, match="give the attention map"):
        view_page(scan(), attention=image(np.zeros((2, 3, 4, 5), dtype=np.float32)))
    with pytest.raises(DataError, match="α lies between 0 and 1"):
        view_page(scan(), attention=scan())


def shift_mm(distance: float) -> np.ndarray:
    moved = np.zeros((4, 4))
    moved[0, 3] = distance
    return moved


def test_view_reads_files_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = np.zeros((3, *SHAPE), dtype=np.float32)
    write_volumes(
        tmp_path / "alpha.nii.gz", alpha, count=3, like=scan(), dtype=np.dtype(np.float32)
    )
    write_volumes(
        tmp_path / "a.nii.gz", scan().array, count=1, like=scan(), dtype=np.dtype(np.int16)
    )
    write_labels(tmp_path / "m.nii.gz", mask().array[0], like=scan(), dtype=np.dtype(np.uint8))
    (tmp_path / "m.tsv").write_text("index\tname\n2\tliver\n7\tspleen\n")
    monkeypatch.chdir(tmp_path)
    path = view(Path("a.nii.gz"), Path("m.nii.gz"), attention=Path("alpha.nii.gz"))
    assert path == Path("a_view.html")
    found = facts(path.read_text(encoding="utf-8"))
    assert [label["name"] for label in found["labels"]] == ["liver", "spleen"]
    assert found["gates"] == 3
    with pytest.raises(UsageError, match=r"ends in \.html"):
        view(Path("a.nii.gz"), output=Path("m.nii.gz"))
    with pytest.raises(UsageError, match="give a MASK too"):
        view(Path("a.nii.gz"), compare=Path("m.nii.gz"))


def test_names_beside_a_mask_are_not_in_the_way(tmp_path: Path) -> None:
    """A table of something else, or one of Latin-1: the page is made, and what is left out said."""
    kind, notes = np.dtype(np.int16), []
    write_volumes(tmp_path / "a.nii.gz", scan().array, count=1, like=scan(), dtype=kind)
    write_labels(tmp_path / "m.nii.gz", mask().array[0], like=scan(), dtype=kind)

    def shown() -> list[str]:
        scan_, mask_, output = (tmp_path / name for name in ("a.nii.gz", "m.nii.gz", "a.html"))
        page = view(scan_, mask_, output=output, say=notes.append)
        return [label["name"] for label in facts(page.read_text(encoding="utf-8"))["labels"]]

    (tmp_path / "m.tsv").write_bytes("index\tname\n2\tfoie gâté\n7\trate\n".encode("cp1252"))
    assert (shown(), notes) == (["foie gâté", "rate"], [])
    (tmp_path / "dataset.json").write_text("{")
    assert shown() == ["foie gâté", "rate"]
    (tmp_path / "m.tsv").write_text("feature\tvalue\nvolume\t3\n")
    assert shown() == ["label 2", "label 7"]
    starts = [f"names not used: {tmp_path / name}: " for name in ("dataset.json",) * 2 + ("m.tsv",)]
    assert [note[: len(start)] for note, start in zip(notes, starts, strict=True)] == starts


def test_channels_of_other_formats_than_nifti(tmp_path: Path) -> None:
    values = np.random.default_rng(5).random((6, 5, 4, 3), dtype=np.float32)
    nib.MGHImage(values, np.eye(4)).to_filename(tmp_path / "a.mgz")
    page = view(tmp_path / "a.mgz", output=tmp_path / "a.html").read_text(encoding="utf-8")
    assert len(facts(page)["windows"]) == 3
    np.testing.assert_array_equal(np.asarray(embedded(page, "scan", tmp_path).dataobj), values)


def test_names_of_labels_given_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = np.dtype(np.int16)
    write_volumes(tmp_path / "a.nii.gz", scan().array, count=1, like=scan(), dtype=kind)
    for name in ("m.nii.gz", "other/m.nii.gz"):
        write_labels(tmp_path / name, mask().array[0], like=scan(), dtype=kind)
    monkeypatch.chdir(tmp_path)

    def shown(**given: Path) -> list[str]:
        path = view(Path("a.nii.gz"), Path("m.nii.gz"), **given)
        return [label["name"] for label in facts(path.read_text(encoding="utf-8"))["labels"]]

    assert shown() == ["label 2", "label 7"]
    Path("other/dataset.json").write_text('{"labels": {"background": 0, "Leber": 2, "Milz": 7}}')
    assert shown(compare=Path("other/m.nii.gz")) == ["Leber", "Milz"]
    Manifest(tmp_path).add(Outcome("a", "done", mask="m.nii.gz", labels={2: "liver"}))
    assert shown() == ["liver", "label 7"]
    assert shown(compare=Path("other/m.nii.gz")) == ["liver", "Milz"]

    Path("names.csv").write_text("index;name\n2;foie\n7;rate\n")
    assert shown(names=Path("names.csv")) == ["foie", "rate"]
    assert shown(names=Path("other/dataset.json")) == ["Leber", "Milz"]
    with pytest.raises(UsageError, match=r"--names a\.txt: give a table \(\.csv, \.tsv\)"):
        shown(names=Path("a.txt"))
    Path("empty.json").write_text("{}")
    with pytest.raises(DataError, match=r"empty\.json: names no label"):
        shown(names=Path("empty.json"))


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="needs chromium")
def test_a_browser_draws_the_scan_and_hides_a_label(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(view_page(scan(), mask()), encoding="utf-8")
    with chromium_tab(tmp_path / "profile") as tab:
        tab.open(page.as_uri(), size=(900, 700))
        assert tab.run("document.body.dataset.ready") == "yes"
        stage = tab.run("[...Object.values(at('canvas').getBoundingClientRect().toJSON())]")
        left, top, width, height = (int(n) for n in stage[:4])
        canvas = (slice(top, top + height), slice(left, left + width))
        with_labels = tab.picture()[canvas].astype(int)
        assert (with_labels.max(axis=-1) > 30).mean() > 0.2

        def coloured(picture: np.ndarray) -> int:
            """Pixels of the first label's orange: red well above blue."""
            return int((picture[..., 0] - picture[..., 2] > 40).sum())

        assert coloured(with_labels) > 1000
        tab.run("document.querySelector('#labels input').click()")
        assert coloured(tab.picture()[canvas].astype(int)) < coloured(with_labels) / 20
        assert tab.run("location.hash") == "#hide=2&view=multi"
        assert tab.errors == []
        assert tab.requested
        assert all(each.startswith(("file:", "data:")) for each in tab.requested)


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="needs chromium")
def test_an_oblique_scan_of_two_channels_opens_at_its_label(tmp_path: Path) -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    values = np.random.default_rng(4).integers(-99, 99, (2, *SHAPE)).astype(np.float32)
    labels = np.zeros((1, *SHAPE), dtype=np.uint8)
    labels[0, 14:17, 3, 2:9] = labels[0, 15, 2:6, 2:9] = labels[0, 14:17, 2:5, 8] = 1
    page = tmp_path / "page.html"
    html = view_page(image(values, AFFINE @ turned), image(labels, AFFINE @ turned))
    page.write_text(html, encoding="utf-8")
    with chromium_tab(tmp_path / "profile") as tab:
        tab.open(page.as_uri(), size=(900, 700))
        for channel in (0, 1):
            tab.run(f"at('channel').value = {channel}; setChannel({channel})")
            tab.run("viewer.createOnLocationChange()")
            told = tab.run("[...at('readout').children].map((each) => each.textContent)")
            assert told[1:] == ["voxel 15, 3, 8", f"value {values[channel, 15, 3, 8]:g}", "label 1"]


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="needs chromium")
def test_a_browser_says_what_its_graphics_cannot_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnseg.visualization.packed.MAX_AXIS", 30_000)
    page = tmp_path / "page.html"
    with chromium_tab(tmp_path / "profile") as tab:
        tab.open("data:text/html,<body data-ready=yes><canvas>", size=(900, 700))
        most = tab.run(
            "(gl => gl.getParameter(gl.MAX_3D_TEXTURE_SIZE))"
            "(document.querySelector('canvas').getContext('webgl2'))"
        )
        long = image(np.ones((1, most + 1, 3, 2), dtype=np.float32))
        page.write_text(view_page(long), encoding="utf-8")
        tab.open(page.as_uri(), size=(900, 700))
        assert tab.run("document.body.dataset.ready") == "no"
        told = tab.run("document.getElementById('readout').textContent")
        assert f"is {most + 1} voxels long" in told
        assert f"hold {most}; open it on another computer" in told
