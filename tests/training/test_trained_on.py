"""A run knows the cases that it was begun with by what they are."""

import shutil

import pytest

from attnseg.datasets import find_dataset, fingerprint, inspect_dataset
from attnseg.errors import RunError
from attnseg.images import read_outline
from attnseg.inference import Outcome
from attnseg.inference.identity import identify_scan, outsides
from attnseg.inference.manifest import Manifest
from attnseg.training import Run, resumed_config, train
from attnseg.training.cache import cache_cases
from attnseg.training.plan import make_plan
from attnseg.training.trained_on import changes, changes_since, save_cases
from attnseg.training.validation import outdated_cases


@pytest.fixture
def begun(toy, small_config, tmp_path):
    """Cases of a fold that has been noted, and how they are cached and found again."""
    data = find_dataset(toy)
    spec = make_plan(small_config(), data, fingerprint(inspect_dataset(data)), device="cpu").spec
    note = tmp_path / "fold0" / "cases.json"

    def cached():
        return cache_cases(find_dataset(toy).cases[:4], spec, tmp_path / "cache")

    save_cases(note, cached())
    return note, cached


def test_what_has_changed_is_said(begun, toy):
    note, cached = begun
    assert changes(note, cached()) == ""
    shutil.copy(toy / "labels" / "case5.nii.gz", toy / "labels" / "case1.nii.gz")
    said = changes(note, cached())
    assert "1 training case(s), case1, has changed since it was begun" in said
    cases = {case.name: case for case in find_dataset(toy).cases}
    assert "case1, has changed since it was trained; its model is left" in changes_since(
        note, cases
    )
    (toy / "images" / "case0.nii.gz").touch()
    assert "1 training case(s)" in changes(note, cached()), "touched is not changed"
    cases.pop("case2")
    assert "2 training case(s), case1, case2, have" in changes_since(note, cases)


def test_another_data_set_with_the_same_names_is_refused(begun, toy):
    note, cached = begun
    for first, second in ((0, 4), (1, 5), (2, 4), (3, 5)):
        for folder in ("images", "labels"):
            shutil.copy(toy / folder / f"case{second}.nii.gz", toy / folder / f"case{first}.nii.gz")
    with pytest.raises(RunError, match=r"none of its 4 training cases .* another data set"):
        changes(note, cached())


def test_a_fold_of_an_older_version_noted_nothing(begun, tmp_path):
    _, cached = begun
    assert changes(tmp_path / "none" / "cases.json", cached()) == ""
    (tmp_path / "cases.json").write_text("[1]")
    assert changes(tmp_path / "cases.json", cached()) == ""


@pytest.mark.slow
def test_a_resumed_run_tells_what_changed(small_config, toy, tmp_path, capsys):
    config, folder = small_config(training__epochs=1), tmp_path / "run"
    train(config, folder)
    held_out = {path.stem.split(".")[0] for path in (folder / "fold0" / "validation").glob("*.gz")}
    training = sorted({f"case{n}" for n in range(6)} - held_out)
    # Held-out scans too: their masks are made anew, since a case of that name is another now.
    for name, other in zip([*training[:1], *held_out], training[1:], strict=False):
        for kind in ("images", "labels"):
            shutil.copy(toy / kind / f"{other}.nii.gz", toy / kind / f"{name}.nii.gz")
    assert train(config, folder, resume=True) is None
    said = capsys.readouterr().err
    assert f"1 training case(s), {training[0]}, has changed since it was trained" in said
    longer = resumed_config(folder, epochs=2, max_minutes=None)
    scores = train(longer, folder, resume=True)
    assert "has changed since it was begun; it goes on with the data as they are" in (
        capsys.readouterr().err
    )
    assert {case.name for case in scores.cases} == held_out


def test_masks_of_folds_are_held_against_their_scans(toy, tmp_path):
    """The scores of all folds take masks that lie there; of which scans, their lines say."""
    cases, run = find_dataset(toy).cases, Run(tmp_path / "run", "0")
    book = Manifest(run.predictions)
    for case in cases[:3]:
        before = outsides(case.images)
        geometry = read_outline(case.images).geometry
        scan = identify_scan(case.images, geometry, before=before)
        book.add(Outcome(case.name, "done", mask=f"{case.name}.nii.gz", scan=scan))
    assert outdated_cases([run], cases) == []
    shutil.copy(toy / "images" / "case5.nii.gz", toy / "images" / "case1.nii.gz")
    (toy / "images" / "case0.nii.gz").touch()
    assert outdated_cases([run], cases) == ["case1"]
