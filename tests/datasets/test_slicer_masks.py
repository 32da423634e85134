"""Segmentations of 3D Slicer: cropped to their segments, in layers, named `.seg.nrrd`."""

import gzip
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from attnseg.check import check
from attnseg.config import load_config
from attnseg.convert import convert
from attnseg.datasets import find_dataset, find_problems, fingerprint, inspect_dataset
from attnseg.errors import DataError, UsageError
from attnseg.evaluation import evaluate
from attnseg.images import Geometry, Image, read_image, read_labels, write_image
from attnseg.training.cache import cache_cases
from attnseg.training.plan import make_plan
from attnseg.view import view

SHAPE, SPACING, ORIGIN = (20, 18, 12), (1.5, 1.5, 2.0), (-20.0, -30.0, 10.0)
Names = Sequence[tuple[str, int, int]]  # name, layer, value


def write_nrrd(
    path: Path,
    array: np.ndarray,
    *,
    origin: Sequence[float] = ORIGIN,
    segments: Names = (),
    kind: str = "list",
) -> None:
    """As 3D Slicer writes them: the numbers of a voxel first, segments as keys and values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    many = array.ndim == 4
    x, y, z = SPACING
    lines = [
        "NRRD0004",
        f"type: {'short' if array.dtype == np.int16 else 'unsigned char'}",
        f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, array.shape))}",
        f"space directions: {'none ' if many else ''}({x},0,0) (0,{y},0) (0,0,{z})",
        f"kinds: {f'{kind} ' if many else ''}domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: ({','.join(map(str, origin))})",
    ]
    for number, (name, layer, value) in enumerate(segments):
        lines += [
            f"Segment{number}_ID:=Segment_{number + 1}",
            f"Segment{number}_LabelValue:={value}",
            f"Segment{number}_Layer:={layer}",
            f"Segment{number}_Name:={name}",
        ]
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + gzip.compress(array.tobytes("F")))


def labels_of(seed: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3 : 9 + seed % 3, 4:10, 3:7] = 1
    labels[10:14, 8 : 13 + seed % 2, 5:10] = 2
    return labels


def crop_of(labels: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """The labels' box and where it begins in mm."""
    low, high = np.argwhere(labels).min(axis=0), np.argwhere(labels).max(axis=0) + 1
    cells = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return labels[cells], [o + s * int(n) for o, s, n in zip(ORIGIN, SPACING, low, strict=True)]


@pytest.fixture
def cropped(tmp_path: Path) -> Path:
    """Five cases, masks cropped and named `.seg.nrrd`; the whole ones in `whole`."""
    for seed in range(5):
        labels = labels_of(seed)
        noise = np.random.default_rng(seed).normal(0, 9, SHAPE)
        write_nrrd(tmp_path / f"set/images/c{seed}.nrrd", (100 * labels + noise).astype(np.int16))
        part, origin = crop_of(labels)
        names = [("tumour", 0, 1), ("organ", 0, 2)]
        path = tmp_path / f"set/labels/c{seed}.seg.nrrd"
        write_nrrd(path, part, origin=origin, segments=names)
        write_nrrd(tmp_path / f"whole/c{seed}.nrrd", labels)
    return tmp_path / "set"


def test_masks_cropped_to_their_segments_are_whole_in_all_that_reads_them(cropped: Path) -> None:
    # The cases of slicer_masks.py.
    dataset = find_dataset(cropped)
    assert [case.label.name for case in dataset.cases if case.label] == [
        f"c{seed}.seg.nrrd" for seed in range(5)
    ]
    facts = inspect_dataset(dataset)
    for seed, case in enumerate(facts):
        values, counts = np.unique(labels_of(seed), return_counts=True)
        assert case.label_counts == dict(zip(values.tolist(), counts.tolist(), strict=True))
        assert case.usable
        assert case.foreground_sample.shape == (1, np.count_nonzero(labels_of(seed)))
    findings = find_problems(dataset, facts)
    assert {finding.severity for finding in findings} == {"harmless"}
    told = [each for each in findings if "a part of the image's grid" in each.problem]
    assert [each.case for each in told] == [f"c{seed}" for seed in range(5)]
    assert "with 0 around it" in told[0].remedy


def test_what_is_trained_on_is_the_whole_mask(cropped: Path, tmp_path: Path) -> None:
    dataset = find_dataset(cropped)
    facts = inspect_dataset(dataset)
    settings = load_config(None, {"preprocessing.spacing_mm": list(SPACING)})
    plan = make_plan(settings, dataset, fingerprint(facts), device="cpu")
    folder = tmp_path / "cache"
    folder.mkdir()
    (first, *_) = cache_cases(dataset.cases[:1], plan.spec, folder)
    image, label, _ = first.load()
    assert image.shape == (1, *label.shape) == (1, *SHAPE)
    # The file runs left and back, the network's axes right and front.
    np.testing.assert_array_equal(label, labels_of(0)[::-1, ::-1])


def test_masks_of_another_extent_are_scored(cropped: Path) -> None:
    parts, whole = cropped / "labels", cropped.parent / "whole"
    for prediction, reference in ((parts, whole), (whole, parts)):
        found = evaluate(prediction, reference, full=True)
        assert found.failed == {}
        assert found.mean_dice == 1.0
        assert found.placed == tuple(f"c{seed}" for seed in range(5))
        assert found.to_json()["placed_on_one_grid"] == list(found.placed)
    one = cropped / "labels/c1.seg.nrrd"
    expected = evaluate(cropped.parent / "whole/c1.nrrd", cropped.parent / "whole/c0.nrrd")
    assert evaluate(one, cropped.parent / "whole/c0.nrrd").mean_dice == expected.mean_dice < 1


def test_a_mask_along_other_axes_is_scored_as_it_lies(tmp_path: Path) -> None:
    labels = labels_of(1)
    affine = np.diag([-1.5, -1.5, 2.0, 1.0])
    affine[:3, 3] = 20, 30, 10
    write_nrrd(tmp_path / "one.nrrd", labels)
    turned = affine.copy()
    turned[0, 3] -= 1.5 * (SHAPE[0] - 1)
    turned[1, 3] -= 1.5 * (SHAPE[1] - 1)
    turned[:2, :2] *= -1
    image = Image(labels[None, ::-1, ::-1].astype(np.float32), Geometry(SHAPE, turned))
    write_image(tmp_path / "other.nii.gz", image)
    found = evaluate(tmp_path / "one.nrrd", tmp_path / "other.nii.gz")
    assert (found.mean_dice, found.placed) == (1.0, ("one",))


def test_a_viewer_and_a_converted_data_set_show_the_whole(cropped: Path, tmp_path: Path) -> None:
    page = view(
        cropped / "images/c0.nrrd",
        cropped / "labels/c0.seg.nrrd",
        compare=cropped.parent / "whole/c0.nrrd",
        output=tmp_path / "page.html",
    )
    assert page.stat().st_size > 1000
    report = convert(cropped, tmp_path / "new", format="nrrd")
    assert (len(report.done), report.failed) == (5, {})
    for case in find_dataset(tmp_path / "new").cases:
        assert case.label
        np.testing.assert_array_equal(
            read_labels(case.label).array[0], labels_of(int(case.name[1]))
        )


def test_convert_puts_a_mask_on_the_grid_of_its_image(cropped: Path, tmp_path: Path) -> None:
    image = cropped / "images/c2.nrrd"
    report = convert(cropped / "labels/c2.seg.nrrd", tmp_path / "out", like=image, format="mha")
    assert report.done == ["c2.mha"]
    assert "with 0 around it" in report.notes[0]
    found = read_labels(tmp_path / "out/c2.mha")
    np.testing.assert_array_equal(found.array[0], labels_of(2))
    assert found.geometry.matches(read_image(image).geometry, tolerance_mm=1e-9)
    # The image's own lines, where the formats agree.
    convert(cropped / "labels/c2.seg.nrrd", tmp_path / "same.nrrd", like=image)
    place = re.compile(rb"space directions: .*\n|space origin: .*\n")
    assert place.findall((tmp_path / "same.nrrd").read_bytes()) == place.findall(image.read_bytes())
    other = tmp_path / "elsewhere.nrrd"
    write_nrrd(other, np.zeros(SHAPE, np.int16), origin=(-20.4, -30, 10))
    for like, reason in ((other, "lie between those of the image"), (cropped, "no single mask")):
        source = cropped / "labels" / ("c2.seg.nrrd" if like == other else "")
        with pytest.raises((DataError, UsageError), match=reason):
            convert(source, tmp_path / "no.nrrd", like=like)
    cut = tmp_path / "cut.nrrd"
    write_nrrd(cut, np.zeros((9, 18, 12), np.int16))
    with pytest.raises(DataError, match="holds labels outside the image"):
        convert(cropped / "labels/c2.seg.nrrd", tmp_path / "no.nrrd", like=cut)
    assert not (tmp_path / "no.nrrd").exists()


TWO = [("tumour", 0, 1), ("organ", 1, 1)]


def test_layers_that_do_not_overlap_become_one_label_map(tmp_path: Path) -> None:
    labels = labels_of(0)
    layers = np.stack([labels == 1, labels == 2]).astype(np.uint8)
    write_nrrd(tmp_path / "m.seg.nrrd", layers, segments=TWO)
    found = read_labels(tmp_path / "m.seg.nrrd")
    np.testing.assert_array_equal(found.array[0], labels)
    assert found.notes == ("its 2 layers became one label map: 1 tumour, 2 organ",)
    # Three segments, two of one layer, each with a value of its own.
    layers = np.stack([labels == 1, 7 * (labels == 2)]).astype(np.uint8)
    layers[0, 0, 0, 0] = 9
    names = [("a", 0, 1), ("b", 1, 7), ("c", 0, 9)]
    write_nrrd(tmp_path / "n.seg.nrrd", layers, segments=names, kind="vector")
    expected = labels.copy()
    expected[labels == 2], expected[0, 0, 0] = 7, 9
    np.testing.assert_array_equal(read_labels(tmp_path / "n.seg.nrrd").array[0], expected)


def test_layers_that_overlap_are_refused_by_the_names_of_their_segments(tmp_path: Path) -> None:
    # The case of slicer_masks.py.
    labels = labels_of(0)
    layers = np.stack([labels == 1, labels > 0]).astype(np.uint8)
    path = tmp_path / "m.seg.nrrd"
    write_nrrd(path, layers, segments=TWO)
    count = np.count_nonzero(labels == 1)
    with pytest.raises(DataError, match=f"'tumour' and 'organ' overlap in {count} voxel") as caught:
        read_labels(path)
    assert "export a label map in 3D Slicer" in str(caught.value)
    with pytest.raises(DataError, match="in 2 layers, which are neither channels"):
        read_image(path)


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        ((), "2 numbers a voxel, and a mask holds one"),
        (TWO[:1], "hold labels that its header does not name"),
        ([("a", 0, 1), ("b", 2, 1)], "2 segments that its 2 layers cannot hold"),
    ],
)
def test_layers_without_a_meaning_are_refused(tmp_path: Path, segments: Names, reason: str) -> None:
    layers = np.stack([labels_of(0) == 1, labels_of(0) == 2]).astype(np.uint8)
    write_nrrd(tmp_path / "m.nrrd", layers, segments=segments)
    with pytest.raises(DataError, match=reason) as caught:
        read_labels(tmp_path / "m.nrrd")
    assert "time points" not in str(caught.value)


def test_a_mask_of_another_case_is_still_fatal(tmp_path: Path) -> None:
    for name, size in (("a", 20), ("b", 18)):
        write_nrrd(tmp_path / f"images/{name}.nrrd", np.full((size, 18, 12), 5, np.int16))
        write_nrrd(tmp_path / f"labels/{name}.nrrd", labels_of(0)[: 38 - size])
    with pytest.raises(DataError, match="stop training"):
        check([tmp_path])
