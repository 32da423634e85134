"""What one pass over the files notes, and what it finds wrong with a single case."""

import numpy as np
import pytest

from attnseg.datasets import Case, Dataset, inspect_case, inspect_dataset

RNG = np.random.default_rng(0)


@pytest.fixture
def make_case(tmp_path, save):
    def make(image: np.ndarray, label: np.ndarray | None, *, image_affine=None, label_affine=None):
        images = (save(tmp_path / "image.nii.gz", image, image_affine),)
        if label is None:
            return Case("case", images, None)
        return Case("case", images, save(tmp_path / "label.nii.gz", label, label_affine))

    return make


def volume(*shape: int) -> np.ndarray:
    return RNG.normal(100, 20, shape or (6, 5, 4)).astype(np.float32)


def mask(*shape: int) -> np.ndarray:
    labels = np.zeros(shape or (6, 5, 4), np.uint8)
    labels[1:3, 1:4, 1:3] = 2
    labels[3, 1, 1] = 7
    return labels


def only_finding(facts):
    assert len(facts.findings) == 1, facts.findings
    return facts.findings[0]


def test_facts_of_a_sound_case(make_case):
    image, label = volume(2, 6, 5, 4), mask()
    facts = inspect_case(make_case(image, label), num_channels=2)
    assert facts.findings == ()
    assert facts.usable
    assert facts.shape == (6, 5, 4)
    assert facts.label_counts == {0: 107, 2: 12, 7: 1}
    for channel, intensity in zip(image, facts.intensity, strict=True):
        low, high = np.percentile(channel, (0.5, 99.5))
        assert intensity.mean == pytest.approx(channel.mean(), rel=1e-5)
        assert intensity.std == pytest.approx(channel.std(), rel=1e-5)
        assert intensity.percentile_00_5 == pytest.approx(low, rel=1e-5)
        assert intensity.percentile_99_5 == pytest.approx(high, rel=1e-5)
        assert (intensity.min, intensity.max) == (channel.min(), channel.max())
    np.testing.assert_array_equal(facts.foreground_sample, image[:, label > 0])


def test_shape_and_spacing_are_put_on_the_axes_of_the_patient(make_case):
    # I runs to the back, J to the head, K to the left.
    affine = np.array([[0, 0, -3, 5], [-1, 0, 0, 6], [0, 2, 0, 7], [0, 0, 0, 1]])
    facts = inspect_case(
        make_case(volume(), mask(), image_affine=affine, label_affine=affine), num_channels=1
    )
    assert facts.orientation == "PSL"
    assert facts.spacing_mm == (1, 2, 3)
    assert facts.ras_shape == (4, 6, 5)
    assert facts.ras_spacing_mm == (3, 1, 2)


def test_the_foreground_sample_is_small_and_repeats(make_case):
    image = np.arange(20**3, dtype=np.float32).reshape(20, 20, 20)
    label = (image >= 3000).astype(np.uint8)
    case = make_case(image, label)
    sample = inspect_case(case, num_channels=1).foreground_sample
    assert sample.shape == (1, 1000)
    assert (sample[0, 0], sample[0, -1]) == (3000, 7999)
    assert np.diff(sample[0]).min() >= 4
    np.testing.assert_array_equal(sample, inspect_case(case, num_channels=1).foreground_sample)


def test_negative_labels_are_foreground_too(make_case):
    label = np.where(mask() == 7, -1, 0).astype(np.int16)
    facts = inspect_case(make_case(volume(), label), num_channels=1)
    assert facts.label_counts == {-1: 1, 0: 119}
    assert facts.foreground_sample.shape == (1, 1)


def test_the_digest_tells_content_not_storage(make_case):
    digest = inspect_case(make_case(volume(), mask()), num_channels=1).label_digest
    as_float = make_case(volume(), mask().astype(np.float32))
    assert inspect_case(as_float, num_channels=1).label_digest == digest
    changed = mask()
    changed[0, 0, 0] = 2
    assert inspect_case(make_case(volume(), changed), num_channels=1).label_digest != digest


def test_a_label_of_another_shape_is_fatal(make_case):
    facts = inspect_case(make_case(volume(), mask(6, 5, 5)), num_channels=1)
    assert only_finding(facts).severity == "fatal"
    assert only_finding(facts).problem == "label has shape (6, 5, 5), the image (6, 5, 4)"
    assert not facts.usable


@pytest.mark.parametrize(
    ("shift_mm", "severity"), [(0.5, "fixable"), (0.05, "harmless"), (0.001, None)]
)
def test_a_label_beside_its_image(make_case, shift_mm: float, severity: str | None):
    affine = np.eye(4)
    affine[1, 3] = shift_mm
    facts = inspect_case(make_case(volume(), mask(), label_affine=affine), num_channels=1)
    assert [finding.severity for finding in facts.findings] == ([severity] if severity else [])
    assert all(f"up to {shift_mm:g} mm off" in finding.problem for finding in facts.findings)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_fixable_unless_all_are(make_case, bad: float):
    image = volume()
    image[0, 0, :2] = bad
    facts = inspect_case(make_case(image, mask()), num_channels=1)
    assert (only_finding(facts).severity, only_finding(facts).mend) == ("fixable", "fill")
    problem = only_finding(facts).problem
    assert problem.startswith("channel 0 (")  # and its file
    assert problem.endswith(") has 2 voxel(s) that are NaN or infinite")
    assert not facts.usable
    assert facts.intensity[0].mean == pytest.approx(image[np.isfinite(image)].mean(), rel=1e-5)
    everywhere = inspect_case(make_case(np.full_like(image, bad), mask()), num_channels=1)
    assert np.isnan(everywhere.intensity[0].mean)
    assert only_finding(everywhere).severity == "fatal"


def test_an_empty_label_is_a_warning(make_case):
    facts = inspect_case(make_case(volume(), 0 * mask()), num_channels=1)
    assert only_finding(facts).severity == "harmless"
    assert only_finding(facts).problem.startswith("empty label")
    assert facts.usable


def test_the_ignore_label_is_counted_nowhere(make_case):
    image, label = volume(), mask()
    facts = inspect_case(make_case(image, label), num_channels=1, ignore_label=7)
    assert facts.label_counts == {0: 107, 2: 12}
    assert facts.findings == ()
    np.testing.assert_array_equal(facts.foreground_sample, image[label == 2][None])


@pytest.mark.parametrize("values", [(0, 7), (7, 7)])
def test_masks_without_any_label_but_the_ignored_are_empty(make_case, values):
    label = np.where(mask() == 7, values[0], values[1]).astype(np.uint8)
    facts = inspect_case(make_case(volume(), label), num_channels=1, ignore_label=7)
    assert only_finding(facts).problem == "empty label: every voxel is 0 or 7 (ignored)"
    assert not any(facts.label_counts)
    assert facts.usable
    assert facts.foreground_sample.shape == (1, 0)


def test_an_image_of_one_value_is_a_warning(make_case):
    facts = inspect_case(make_case(0 * volume(), mask()), num_channels=1)
    (sentence,) = facts.constant_channels
    assert sentence.startswith("channel 0 (")
    assert sentence.endswith(") is 0 everywhere")
    assert facts.usable


def test_another_number_of_channels_is_fatal(make_case):
    facts = inspect_case(make_case(volume(), mask()), num_channels=2)
    assert only_finding(facts).severity == "fatal"
    assert "1 channel(s) where 2 are expected" in only_finding(facts).problem


def test_unreadable_files_keep_the_message_of_the_reader(make_case):
    case = make_case(volume(), mask())
    case.images[0].write_bytes(case.images[0].read_bytes()[:40])
    case.label.write_bytes(b"")
    image_problem, label_problem = inspect_case(case, num_channels=1).findings
    assert image_problem.problem.startswith(f"{case.images[0]}: cut short or damaged")
    assert image_problem.remedy == "copy it again"
    assert label_problem.problem == f"{case.label}: the file is empty"
    assert {image_problem.severity, label_problem.severity} == {"fatal"}


def test_a_case_without_label_is_inspected_but_not_usable(make_case):
    facts = inspect_case(make_case(volume(), None), num_channels=1)
    assert facts.shape == (6, 5, 4)
    assert facts.findings == ()
    assert not facts.usable


def test_inspect_dataset_keeps_the_order_and_tells_its_progress(tmp_path, save):
    cases = []
    for number in range(5):
        image = save(tmp_path / f"image{number}.nii", volume(4, 4, 3 + number))
        label = save(tmp_path / f"label{number}.nii", mask(4, 4, 3 + number))
        cases.append(Case(f"case{number}", (image,), label))
    dataset = Dataset(tmp_path, "paired", tuple(cases), ("image",))
    seen = []
    facts = inspect_dataset(dataset, on_progress=lambda done, total: seen.append((done, total)))
    assert [(each.name, each.shape[2]) for each in facts] == [(f"case{n}", 3 + n) for n in range(5)]
    assert seen == [(n, 5) for n in range(1, 6)]
