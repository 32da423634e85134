"""Data sets of pictures: found, described, inspected, and their faults named."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from attnseg.datasets import (
    find_dataset,
    find_problems,
    fingerprint,
    inspect_dataset,
)
from attnseg.errors import DataError
from attnseg.images import read_labels

RNG = np.random.default_rng(0)


def grey(rows: int = 9, columns: int = 7) -> np.ndarray:
    return RNG.integers(0, 255, (rows, columns), dtype=np.uint8)


def colour(rows: int = 9, columns: int = 7) -> np.ndarray:
    return RNG.integers(0, 255, (rows, columns, 3), dtype=np.uint8)


def mask(value: int = 1, *, rows: int = 9, columns: int = 7, size: int = 3) -> np.ndarray:
    labels = np.zeros((rows, columns), np.uint8)
    labels[2 : 2 + size, 1:5] = value
    return labels


@pytest.fixture
def paired(tmp_path, save_picture):
    """Paired folders of grey PNG images and the given masks."""

    def make(*masks: np.ndarray) -> Path:
        for number, labels in enumerate(masks):
            save_picture(tmp_path / "images" / f"{number}.png", grey(*labels.shape[:2]))
            save_picture(tmp_path / "labels" / f"{number}.png", labels)
        return tmp_path

    return make


def found(root: Path):
    data = find_dataset(root)
    facts = inspect_dataset(data)
    return data, facts, [(f.case, f.severity, f.problem) for f in find_problems(data, facts)]


@pytest.mark.slow
def test_real_pictures_of_many_sizes_have_no_findings(real_data):
    data, facts, problems = found(real_data / "nuclei")
    assert problems == []
    assert data.pictures
    assert len(data.cases) == 400
    assert data.channel_names == ("red", "green", "blue")
    figures = fingerprint(facts)
    assert figures.num_cases == 400
    assert figures.label_values == (1,)
    assert figures.median_spacing_mm == figures.percentile_10_spacing_mm == (1, 1, 1)
    assert figures.median_shape == (256, 256, 1)
    assert figures.orientations == {"LPS": 400}
    assert len(figures.intensity) == 3


def test_image_and_mask_may_differ_in_format(tmp_path, save_picture):
    for name in "ab":
        save_picture(tmp_path / "images" / f"{name}.jpg", colour())
        save_picture(tmp_path / "labels" / f"{name}.png", mask(size=2 + (name == "a")))
    data, facts, problems = found(tmp_path)
    assert data.layout == "paired"
    assert problems == []
    assert "channels: 3 (red, green, blue)" in data.describe()
    assert facts[0].shape == (7, 9, 1)
    assert facts[0].label_counts == {0: 63 - 12, 1: 12}


@pytest.mark.parametrize(
    ("first", "names", "expected"),
    [
        (grey, None, ("image",)),
        (colour, None, ("red", "green", "blue")),
        (grey, ["photo"], ("photo",)),
        (colour, ["RGB"], ("red", "green", "blue")),
        (colour, ["R", "G", "B"], ("R", "G", "B")),
        (grey, ["R", "G", "B"], ("R", "G", "B")),
    ],
)
def test_names_of_the_channels(tmp_path, save_picture, write_metadata, first, names, expected):
    save_picture(tmp_path / "images" / "a.png", grey())
    save_picture(tmp_path / "images" / "b.tif", first())
    for name in "ab":
        save_picture(tmp_path / "labels" / f"{name}.png", mask(size=2 + (name == "a")))
    if names:
        write_metadata(tmp_path, channel_names={str(n): name for n, name in enumerate(names)})
    data, facts, problems = found(tmp_path)
    assert data.channel_names == expected
    assert problems == []
    assert [len(case.intensity) for case in facts] == [len(expected)] * 2


def test_nnunet_and_decathlon_folders_of_pictures(tmp_path, save_picture, write_metadata):
    for name in "ab":
        save_picture(tmp_path / "imagesTr" / f"{name}_0000.png", colour())
        save_picture(tmp_path / "labelsTr" / f"{name}.png", mask(size=2 + (name == "a")))
    write_metadata(tmp_path, channel_names={"0": "RGB"}, labels={"background": 0, "x": 1})
    data, _, problems = found(tmp_path)
    assert (data.layout, data.num_channels, problems) == ("nnunet", 3, [])
    write_metadata(
        tmp_path,
        labels={"0": "background", "1": "x"},
        training=[
            {"image": f"imagesTr/{name}_0000.png", "label": f"labelsTr/{name}.png"} for name in "ab"
        ],
    )
    data, _, problems = found(tmp_path)
    assert (data.layout, data.num_channels, problems) == ("msd", 3, [])


def test_one_grey_picture_for_each_channel(tmp_path, save_picture, write_metadata):
    for name in "ab":
        for channel in range(2):
            save_picture(tmp_path / "imagesTr" / f"{name}_000{channel}.png", grey())
        save_picture(tmp_path / "labelsTr" / f"{name}.png", mask(size=2 + (name == "a")))
    write_metadata(tmp_path, channel_names={"0": "dapi", "1": "gfp"}, labels={"x": 1})
    data, facts, problems = found(tmp_path)
    assert (data.channel_names, problems) == (("dapi", "gfp"), [])
    assert len(facts[0].intensity) == 2


def test_volumes_and_pictures_do_not_mix(tmp_path, touch):
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz", "preview.png", "images/notes.txt")
    assert not find_dataset(tmp_path).pictures
    touch(tmp_path, "images/b.png")
    message = r"images: 1 volume\(s\) such as a\.nii\.gz beside 1 picture\(s\) such as b\.png"
    with pytest.raises(DataError, match=message):
        find_dataset(tmp_path)
    (tmp_path / "images" / "a.nii.gz").unlink()
    touch(tmp_path, "labels/b.nii.gz")
    with pytest.raises(DataError, match=r"a data set holds one kind: move the others out"):
        find_dataset(tmp_path)


def test_masks_of_255_alone_keep_their_value(paired):
    _, facts, problems = found(paired(mask(255), mask(255, size=2)))
    assert problems == []
    assert fingerprint(facts).label_values == (255,)


@pytest.mark.parametrize("declared", [False, True])
def test_masks_of_255_among_masks_of_1(paired, write_metadata, declared: bool):
    masks = [mask(255), mask(255 if declared else 1, size=2), mask(0), mask(255, size=4)]
    root = paired(*masks)
    if declared:
        write_metadata(root, labels={"background": 0, "nucleus": 1})
    data, facts, problems = found(root)
    count = 3 if declared else 2
    assert problems == [
        ("2", "harmless", "empty label: every voxel is 0"),
        (
            "dataset",
            "harmless",
            f"{count} mask(s), such as that of 0, hold 255 where others hold 1",
        ),
    ]
    values = fingerprint(facts).label_values
    assert values == (1,)
    for case, each in zip(data.cases, facts, strict=True):
        read = read_labels(case.label, label_values=(0, *values)).array
        assert {int(v): int((read == v).sum()) for v in np.unique(read)} == each.label_counts


def test_255_beside_other_labels_is_not_1(paired):
    both = mask(1)
    both[0] = 255
    _, facts, problems = found(paired(both, mask(255), mask(1, size=2)))
    assert fingerprint(facts).label_values == (1, 255)
    assert problems == []


def test_255_that_is_to_be_ignored_is_not_1(paired, write_metadata):
    root = paired(mask(255), mask(1), mask(1, size=2))
    write_metadata(root, labels={"background": 0, "nucleus": 1, "ignore": 255})
    _, facts, problems = found(root)
    assert facts[0].label_counts == {0: 51}
    assert problems == [("0", "harmless", "empty label: every voxel is 0 or 255 (ignored)")]
    assert fingerprint(facts).label_values == (1,)


def test_faults_of_pictures_are_named(paired, save_picture):
    root = paired(mask(), mask(size=2), mask(size=4), mask(size=1), mask(), mask(), mask())
    save_picture(root / "labels" / "2.png", mask(rows=8))
    save_picture(root / "labels" / "3.png", colour())
    (root / "images" / "4.png").write_bytes(b"")
    (root / "labels" / "5.png").unlink()
    (root / "labels" / "6.png").unlink()
    save_picture(root / "labels" / "6.jpg", mask())
    _, facts, problems = found(root)
    fatal = {case: problem for case, severity, problem in problems if severity == "fatal"}
    assert fatal.keys() == {"2", "3", "4", "6"}
    assert fatal["2"] == "label has shape (7, 8, 1), the image (7, 9, 1)"
    assert "3.png: a mask in colour" in fatal["3"]
    assert "4.png: the file is empty" in fatal["4"]
    assert ("5", "fixable", "image 5.png has no label") in problems
    assert "6.jpg: JPEG does not keep pixel values" in fatal["6"]
    assert [case.usable for case in facts] == [True, True, False, False, False, False, False]


def photographs(root: Path, *, size: tuple[int, int], orientation: int) -> Path:
    """Six photographs of a disc and masks of it as shown; every other one is stored turned."""
    undo = {1: None, 3: "ROTATE_180", 6: "ROTATE_90", 8: "ROTATE_270"}[orientation]
    width, height = size
    y, x = np.mgrid[:height, :width]
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(6):
        disc = (x - 0.3 * width) ** 2 + (y - 0.25 * height - number) ** 2 < 60
        pixels = RNG.normal(90, 12, (height, width, 3)) + disc[..., None] * [90, 20, -40]
        picture = PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        exif = PIL.Image.Exif()
        exif[0x0112] = 1
        if number % 2 == 0 and undo:
            picture = picture.transpose(PIL.Image.Transpose[undo])
            exif[0x0112] = orientation
        picture.save(root / "images" / f"p{number}.jpg", quality=95, exif=exif)
        PIL.Image.fromarray(disc.astype(np.uint8)).save(root / "labels" / f"p{number}.png")
    return root


@pytest.mark.parametrize("size", [(48, 32), (36, 36)], ids=["rect", "square"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_turned_photographs_lie_under_their_masks(tmp_path, size, orientation):
    """Case photographs_turned: square ones trained beside their masks without a word."""
    _, facts, problems = found(photographs(tmp_path, size=size, orientation=orientation))
    noted = f"image: its EXIF orientation is {orientation}"
    assert problems == [(f"p{number}", "harmless", noted) for number in (0, 2, 4)]
    for each in facts:
        assert each.shape == (*size, 1)
        # The red of the disc is under its mask: 180 and not 90.
        np.testing.assert_allclose(
            np.median(each.foreground_sample, axis=1), (180, 110, 50), atol=9
        )


def turn(path: Path, way: PIL.Image.Transpose, orientation: int = 1) -> None:
    """Store a mask turned, with an orientation of its own."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    with PIL.Image.open(path) as mask:
        turned = mask.transpose(way)
    turned.save(path, exif=exif)


@pytest.mark.parametrize(
    ("size", "orientation", "severity", "words"),
    [
        ((48, 32), 6, "fatal", "label has 32 × 48 pixels, the image 48 × 32: it was drawn"),
        ((36, 36), 6, "warning", "% of the variance of the pixels, but "),
        ((48, 32), 3, "warning", "% of the variance of the pixels, but "),
    ],
)
def test_masks_that_were_drawn_on_the_stored_pixels(tmp_path, size, orientation, severity, words):
    """The sizes tell, or, of squares and of half turns, the pixels do."""
    root = photographs(tmp_path, size=size, orientation=orientation)
    way = {6: PIL.Image.Transpose.ROTATE_90, 3: PIL.Image.Transpose.ROTATE_180}[orientation]
    for number in (0, 2, 4):
        turn(root / "labels" / f"p{number}.png", way)
    _, _, problems = found(root)
    grave = [each for each in problems if each[1] != "harmless"]
    assert [each[:2] for each in grave] == [(f"p{n}", severity) for n in (0, 2, 4)]
    for _, _, problem in grave:
        assert words in problem
        assert f"as stored, before its EXIF orientation {orientation} turned it" in problem


def test_many_masks_on_the_stored_pixels_are_one_warning(tmp_path):
    root = photographs(tmp_path, size=(36, 36), orientation=8)
    for number in range(1, 6, 2):  # those that are stored as shown, as if they were not
        for folder, suffix in (("images", "jpg"), ("labels", "png")):
            copy = (root / folder / f"p{number - 1}.{suffix}").read_bytes()
            (root / folder / f"p{number}.{suffix}").write_bytes(copy)
    for number in range(6):
        turn(root / "labels" / f"p{number}.png", PIL.Image.Transpose.ROTATE_270)
    _, _, problems = found(root)
    # Copies of one photograph are warnings of their own.
    (warning,) = [each for each in problems if each[1] == "warning" and "identical" not in each[2]]
    assert warning[0] == "dataset"
    assert warning[2].startswith("6 cases, such as p0: label explains ")


def test_masks_with_the_orientation_of_their_pictures(tmp_path):
    """A mask stored as its picture is turns with it; one as shown that has it all the same is
    turned away from it."""
    root = photographs(tmp_path, size=(48, 32), orientation=6)
    for number in (0, 2):
        turn(root / "labels" / f"p{number}.png", PIL.Image.Transpose.ROTATE_90, 6)
    _, _, problems = found(root)
    assert {severity for _, severity, _ in problems} == {"harmless"}
    assert ("p0", "harmless", "label: its EXIF orientation is 6") in problems
    turn(root / "labels" / "p0.png", PIL.Image.Transpose.ROTATE_270, 6)
    turn(root / "labels" / "p1.png", PIL.Image.Transpose.ROTATE_90, 8)
    _, _, problems = found(root)
    (grave,) = [each for each in problems if each[1] != "harmless"]
    own = "it was drawn on the picture as shown, and then turned by its own EXIF orientation"
    assert grave == ("p0", "fatal", f"label has 32 × 48 pixels, the image 48 × 32: {own} 6")


def test_what_many_pictures_lose_is_said_once(tmp_path, save_picture):
    for number in range(7):
        transparent = np.dstack([colour(), np.full((9, 7), 200 + number, np.uint8)])
        save_picture(tmp_path / "images" / f"{number}.png", transparent)
        save_picture(tmp_path / "labels" / f"{number}.png", mask(size=1 + number % 5))
    _, _, problems = found(tmp_path)
    noted = [problem for _, _, problem in problems if "opaque" in problem]
    assert len(noted) == 1
    assert "63 of 63 pixels are not opaque" in noted[0]


def save_palette(path: Path, labels: np.ndarray, *colours: str) -> None:
    picture = PIL.Image.fromarray(labels)
    picture.putpalette(bytes.fromhex("".join(colours)))
    picture.save(path)


def test_palettes_that_number_the_colours_differently(tmp_path, paired):
    """Programs that make a palette for each file call red 1 in one and 2 in another."""
    both = [mask(1, size=2) + 2 * (mask(1, size=4) - mask(1, size=2)) for _ in range(4)]
    for number, labels in enumerate(both):
        labels[8, number] = 1
    root = paired(*both)
    black, red, green = "000000", "ff0000", "00ff00"
    for number, labels in enumerate(both):
        order = (black, green, red) if number == 2 else (black, red, green)
        save_palette(root / "labels" / f"{number}.png", labels, *order)
    _, _, problems = found(root)
    assert [each for each in problems if each[1] == "warning"] == [
        ("2", "warning", "label 1 is #00ff00 in the palette of its mask, and #ff0000 in 3 of 4"),
        ("2", "warning", "label 2 is #ff0000 in the palette of its mask, and #00ff00 in 3 of 4"),
    ]
    save_palette(root / "labels" / "2.png", both[2], black, red, green)
    _, _, problems = found(root)
    assert {severity for _, severity, _ in problems} == {"harmless"}
    assert len(problems) == 4
