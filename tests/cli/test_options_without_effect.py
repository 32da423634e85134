"""Options that mean nothing for what is given are refused, by name and with the reason."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from attnseg.datasets import find_dataset
from attnseg.errors import UsageError, refuse_options
from attnseg.images import Geometry, Image, write_image
from attnseg.inference import predict as run_prediction
from attnseg.inference.runner import Runner
from attnseg.models import load_model


def refused(result, *parts: str) -> None:
    """One line, exit code 2, nothing done."""
    assert result.code == 2, (result.out, result.err)
    assert result.err.count("\n") == 1
    for part in parts:
        assert part in result.err


def write_ct(folder: Path, shape: tuple[int, int, int] = (6, 8, 4)) -> None:
    """An axial CT of constant slices."""
    folder.mkdir()
    series, frame, study = generate_uid(), generate_uid(), generate_uid()
    for index in range(shape[2]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID, image.Modality = frame, "CT"
        image.SeriesNumber, image.InstanceNumber = 3, index + 1
        image.Columns, image.Rows = shape[:2]
        image.ImagePositionPatient = [0, 0, 3 * index]
        image.ImageOrientationPatient, image.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
        image.SliceThickness = 3
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.PixelData = np.full(shape[:2], index, "<i2").tobytes()
        image.save_as(folder / f"{index}.dcm", enforce_file_format=True)


@pytest.fixture
def pictures(tmp_path) -> Path:
    for kind in ("images", "labels"):
        folder = tmp_path / "pictures" / kind
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) // (1 if kind == "images" else 32)
            PIL.Image.fromarray(pixels + number * (kind == "images")).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def test_convert(attnseg, dataset, pictures, tmp_path):
    scan, mask = dataset / "images/c0.nii.gz", dataset / "labels/c0.nii.gz"
    write_ct(tmp_path / "ct")
    for arguments, *parts in (
        ((dataset, "o", "--like", scan), "--like", "no single mask"),
        ((dataset / "images", "o", "--like", scan), "--like", "no single mask"),
        (("ct", "o", "--like", scan), "--like", "no single mask"),
        ((dataset, "o", "--series", "3"), "--series 3", "data set"),
        ((scan, "o", "--series", "3"), "--series 3", "no DICOM"),
        ((mask, "o", "--like", scan, "--series", "3"), "--series 3", "no DICOM"),
        ((mask, "o", "--like", scan, "--straighten"), "--straighten", "is a mask"),
        ((mask, "o", "--like", scan, "--layout", "bids"), "--layout bids", "is a mask"),
        ((mask, "o", "--like", scan, "--labels", "x"), "--labels x", "is a mask"),
        ((scan, "o", "--layout", "bids"), "--layout bids", "single file"),
        ((scan, "o", "--images", "a", "--images", "b"), "--images a b", "single file"),
        ((scan, "o.mha", "--format", "nrrd"), "--format nrrd", "o.mha"),
        ((pictures, "o", "--format", "nrrd"), "--format nrrd", "pictures"),
        ((pictures, "o", "--straighten"), "--straighten", "pictures"),
        ((pictures / "images/0.png", "o", "--straighten"), "--straighten", "pictures"),
        ((pictures / "labels/0.png", "o", "--like", scan), "--like", "pictures have no place"),
    ):
        refused(attnseg("convert", *arguments), *parts)
    assert not list(tmp_path.glob("o*"))
    # And where they mean something they are obeyed.
    assert attnseg("convert", "ct", "o.nii.gz", "--series", "3").code == 0
    assert attnseg("convert", scan, "o.nrrd", "--format", "nrrd").code == 0
    assert attnseg("convert", pictures, "new").code == 0
    assert len(find_dataset(Path("new")).cases) == 2


def test_a_dicom_object_is_written_in_the_format_asked_for(attnseg, dataset, model, tmp_path):
    write_ct(tmp_path / "ct", (24, 20, 16))
    result = attnseg("predict", "ct", "-o", "p", "--format", "rtstruct")
    assert result.code == 0, result.err
    (drawn,) = Path("p").glob("*.dcm")
    assert attnseg("convert", drawn, "out", "--like", "ct", "--format", "nrrd").code == 0
    assert [path.suffix for path in sorted(Path("out").iterdir())] == [".nrrd", ".tsv"]
    for arguments, *parts in (
        ((drawn, "o", "--like", "ct", "--straighten"), "--straighten", "is a mask"),
        ((drawn, "o", "--like", "ct", "--layout", "bids"), "--layout bids", "is a mask"),
        ((drawn, "o.mha", "--like", "ct", "--format", "nrrd"), "--format nrrd"),
        ((drawn, "o", "--series", "3"), "--series 3", "--like"),
    ):
        refused(attnseg("convert", *arguments), *parts)


def test_check_and_view(attnseg, dataset):
    scan, mask = dataset / "images/c0.nii.gz", dataset / "labels/c0.nii.gz"
    for arguments, *parts in (
        (("check", dataset, "--series", "3"), "--series 3", "data set"),
        (("check", scan, "--series", "3"), "--series 3", "no DICOM"),
        (("check", scan, "--layout", "paired"), "--layout paired", "is a scan"),
        (("check", scan, mask, "--labels", "x"), "--labels x", "is a scan"),
        (("view", scan, "--series", "3", "--no-open"), "--series 3", "no DICOM"),
        (("view", scan, "--names", "n.tsv", "--no-open"), "--names n.tsv", "give a MASK"),
        (("view", scan, "--compare", mask, "--no-open"), "--compare", "give a MASK"),
    ):
        refused(attnseg(*arguments), *parts)
    assert not list(Path().glob("*.html"))


def test_predict(attnseg, dataset, model, pictures, monkeypatch):
    scan = dataset / "images/c0.nii.gz"
    for arguments, *parts in (
        (("--series", "3"), "--series 3", "no DICOM"),
        (("--series", "3", "--channels", "{case}.nii.gz"), "--series 3", "--channels"),
        (("--max-vram", "2G"), "--max-vram", "--max-ram"),
        (("--compile", "--backend", "openvino"), "--compile", "openvino"),
        (("--workers", 2), "--workers 2", "--engine ray"),
        (("--dry-run", "--engine", "ray"), "--dry-run", "--engine"),
        (("--dry-run", "--workers", 2), "--dry-run", "--workers"),
        (("--bids", "--format", "nrrd"), "--bids", "--format"),
        (("--per-label", "--format", "rtstruct"), "--per-label", "rtstruct"),
    ):
        refused(attnseg("predict", scan, "-o", "o", "--device", "cpu", *arguments), *parts)
    assert not Path("o").exists()
    # --compile is PyTorch's: `auto` does not choose another back end behind it.
    network, spec = load_model(model)
    runner = Runner(
        [network], spec, next(network.parameters()).device,
        mirror_axes=(), backend="auto", compiled=True, bounded=False,
    )  # fmt: skip
    assert runner.backend == "torch"


def test_a_dry_run_tells_what_would_be_written(attnseg, dataset, model):
    options = ("--statistics", "--per-label", "--format", "nrrd", "--save-probabilities")
    result = attnseg("predict", dataset / "images", "-o", "o", "--dry-run", "--overwrite", *options)
    assert result.code == 0
    assert (
        "without --dry-run: masks (nrrd), a file for each label, probabilities, statistics.csv → "
        "o/; what is done there already is predicted again (--overwrite)"
    ) in result.err
    assert not Path("o").exists()


def test_maps_of_gates_need_gates_and_volumes_need_volumes(attnseg, dataset, small, tmp_path):
    assert attnseg("train", dataset, "-o", "runs/none", *small, "--gates", "none").code == 0
    scan = dataset / "images/c0.nii.gz"
    refused(attnseg("predict", scan, "-o", "o", "--save-attention"), "--save-attention", "no gates")
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="--statistics: tells volumes in ml"):
        run_prediction_statistics(tmp_path)


def run_prediction_statistics(folder: Path) -> None:
    from attnseg.inference import Job

    model = folder / "runs/none/fold0/model.safetensors"
    run_prediction([folder / "a.png"], folder / "o", model=model, job=Job(statistics=True))


def test_compare_report_attention_and_plan(attnseg, dataset, model, tmp_path):
    assert attnseg("predict", dataset / "images", "-o", "p", "--device", "cpu").code == 0
    masks, none = dataset / "labels", tmp_path / "elsewhere"
    none.mkdir()
    write_image(
        none / "x.nii.gz", Image(np.zeros((1, 4, 4, 4), np.float32), Geometry((4, 4, 4), np.eye(4)))
    )
    refused(
        attnseg("compare", "p", masks, "--ref", masks, "--images", none), "--images", "add --html"
    )
    compared = attnseg("compare", "p", masks, "--ref", masks, "--images", none, "--html", "c.html")
    assert (compared.code, Path("c.html").exists()) == (1, False)
    assert "holds no scan of the 3 cases compared (such as c0)" in compared.err
    reported = attnseg("report", "p", "--images", none)
    assert reported.code == 1
    assert "holds no scan of the 3 cases (such as c0)" in reported.err
    refused(attnseg("report", "p", "--curves", "c.png"), "--curves", "prediction")
    refused(
        attnseg("attention", dataset / "images", "--replaced", 0, "--seed", 5), "--seed 5", "random"
    )
    refused(
        attnseg("plan", dataset, "--gpu-memory", "8G", "--device", "cpu"), "--gpu-memory 8G", "cpu"
    )


def test_train_of_a_plan_and_of_lengths(attnseg, dataset, small):
    assert attnseg("plan", dataset, "--no-probe", *small).code == 0
    train = ("train", dataset, "-o", "runs/p", "--plan", "plan.json")
    settings = [each for each in small if "model." not in each and "batch_size" not in each]
    refused(
        attnseg(*train, *settings, "--gates", "none"),
        "--gates",
        "plan.json says grid, and settles it",
    )
    assert attnseg("train", dataset, "-o", "runs/q", "--plan", "plan.json", *small).code == 0
    for key in (
        "model.base_channels=16",
        "preprocessing.spacing_mm=[1,1,1]",
        "training.batch_size=2",
    ):
        refused(attnseg(*train, *settings, "--set", key), f"--set {key.split('=')[0]}")
    refused(attnseg(*train, "--epochs", 1, "--max-minutes", 1), "--epochs and --max-minutes")
    refused(attnseg(*train, "--resume", "--overwrite"), "--resume and --overwrite")
    assert not Path("runs/p").exists()
    # A file may be the one that the plan was made with: it is told what is not read of it.
    Path("c.yaml").write_text("model: {gate: skip}\ntraining: {learning_rate: 0.003}\n")
    result = attnseg(*train, *settings, "--config", "c.yaml")
    assert result.code == 0
    assert result.err.startswith(
        "note: plan.json settles model.gate; the configuration's are not read\n"
    )
    # Its folds share a plan.
    text = Path("plan.json").read_text()
    Path("other.json").write_text(text.replace('"batch_size": 1', '"batch_size": 2'))
    other = ("train", dataset, "-o", "runs/p", "--plan", "other.json", *settings)
    other += ("--config", "c.yaml")
    for more in (("--fold", 1), ("--resume",)):
        result = attnseg(*other, *more)
        assert result.code == 2
        assert "--plan other.json: runs/p has a plan of its own" in result.err.splitlines()[-1]
    assert attnseg(*train, *settings, "--config", "c.yaml", "--resume").code == 0


def test_what_is_said_to_a_run_that_goes_on_is_what_it_does(
    attnseg, dataset, model, small, tmp_path
):
    again = ("train", dataset, "-o", "runs/toy", "--resume", *small)
    # The same command, sent again.
    result = attnseg(*again)
    assert (result.code, "is finished" in result.err) == (0, True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "c.yaml").write_text("training: {learning_rate: 0.5, epochs: 1}\n")
    resume = ("train", "-o", "runs/toy", "--resume")
    for arguments, *parts in (
        (("--seed", 7), "training.seed=0", "not with 7"),
        (("--gates", "none"), "model.gate=grid", "not with none"),
        (("--deterministic",), "training.deterministic=False"),
        (("--set", "training.learning_rate=0.5"), "training.learning_rate=0.002"),
        (("--set", "model.channels=[4,16]"), "model.channels=(4, 8)"),
        (
            ("--set", "training.epochs=9"),
            "training.epochs=1",
            "--epochs and --max-minutes lengthen",
        ),
        (("--config", "c.yaml"), "training.learning_rate=0.002", "not with 0.5"),
        ((elsewhere,), "data.root=", "elsewhere"),
    ):
        refused(attnseg(*resume, *arguments), "--resume: runs/toy was started with", *parts)
    # Lengths and helpers may change.
    (tmp_path / "c.yaml").write_text("training: {learning_rate: 0.002, epochs: 1}\n")
    result = attnseg(*resume, *small, "--config", "c.yaml", "--epochs", 2, "--workers", 0)
    assert result.code == 0, result.err


def test_nothing_given_is_nothing_refused():
    refuse_options({"--a": None, "--b": False, "--c": "", "--d": (), "--e": []}, "never")
    with pytest.raises(UsageError, match=r"^--f 0: why$"):
        refuse_options({"--e": None, "--f": 0}, "why")
