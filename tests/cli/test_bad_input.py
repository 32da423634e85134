"""Bad input: one line with a remedy, and the documented exit code."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import torch


def one_line(result, code, *parts):
    assert result.code == code, result
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert "Traceback" not in result.err
    assert lines, "an explanation"
    for part in parts:
        assert part in lines[-1], lines[-1]
    return lines


@pytest.fixture
def predict(attnseg, model):
    return lambda *arguments: attnseg("predict", *arguments, "-m", model)


def test_missing_folder(attnseg, predict):
    assert len(one_line(predict("nowhere"), 1, "nowhere", "check the path")) == 1
    one_line(attnseg("train", "nowhere"), 1, "nowhere")
    one_line(attnseg("evaluate", "nowhere", "nowhere"), 1, "nowhere")


def test_empty_folder(attnseg, predict, tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(one_line(predict("empty"), 1, "empty")) == 1
    one_line(attnseg("train", "empty"), 1, "empty")


def test_a_folder_of_gifs(attnseg, predict, tmp_path):
    (tmp_path / "gifs" / "images").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "gifs" / f"{number}.gif").write_bytes(b"GIF89a")
        (tmp_path / "gifs" / "images" / f"{number}.gif").write_bytes(b"GIF89a")
    assert len(one_line(predict("gifs"), 1, "3 .gif", ".nii.gz", ".png")) == 1
    one_line(attnseg("train", "gifs"), 1, "gif")


def test_pictures_for_a_model_of_volumes(predict, tmp_path):
    (tmp_path / "pngs").mkdir()
    (tmp_path / "pngs" / "a.png").write_bytes(b"\x89PNG")
    result = predict("pngs")
    assert result.code == 3
    assert "a.png: a picture, and this model segments volumes" in result.err.replace("\n", " ")


def test_truncated_scan(predict, dataset):
    scan = dataset / "images" / "c0.nii.gz"
    scan.write_bytes(scan.read_bytes()[:-200])
    result = predict(scan)
    assert result.code == 3
    assert "c0.nii.gz: cut short" in result.err.replace("\n", " ")


def test_git_lfs_pointer(predict, tmp_path):
    pointer = tmp_path / "scan.nii.gz"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    result = predict(pointer)
    assert result.code == 3
    assert "git lfs pull" in result.err


def test_a_label_with_another_shape(attnseg, dataset):
    label = dataset / "labels" / "c1.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), label)
    one_line(attnseg("train", dataset), 1, "c1", "shape")


def test_wrong_number_of_channels(predict, tmp_path):
    path = tmp_path / "four.nii.gz"
    nib.save(nib.Nifti1Image(np.random.rand(8, 8, 8, 4).astype(np.float32), np.eye(4)), path)
    result = predict(path)
    assert result.code == 3
    assert "1 channel(s)" in result.err


def test_a_model_file_cut_short(attnseg, dataset, model, tmp_path):
    short = tmp_path / "short.safetensors"
    short.write_bytes(model.read_bytes()[:5000])
    one_line(attnseg("predict", dataset / "images", "-m", short), 1, "short.safetensors", "copy")
    one_line(attnseg("model", "verify", short), 1, "short.safetensors")


def test_a_model_file_that_is_a_pickle(attnseg, dataset, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "model.pth")
    result = attnseg("predict", dataset / "images", "-m", "model.pth")
    assert len(one_line(result, 1, "pickle", ".safetensors")) == 1


def test_an_unknown_config_key(attnseg, dataset, tmp_path):
    (tmp_path / "mine.yaml").write_text("training:\n  epocs: 3\n")
    result = attnseg("train", dataset, "--config", "mine.yaml")
    assert len(one_line(result, 1, "mine.yaml: training.epocs: unknown key")) == 1


def test_set_with_a_wrong_type(attnseg, dataset):
    result = attnseg("train", dataset, "--set", "training.epochs=many")
    assert len(one_line(result, 1, "training.epochs", "integer", "'many'")) == 1
    one_line(attnseg("train", dataset, "--set", "training.epochs"), 1, "must be key=value")


def test_usage_errors_exit_with_2(attnseg, dataset, small):
    assert attnseg("predict").code == 2
    assert attnseg("train", "--unknown").code == 2
    assert attnseg("predict", dataset, "--overlap", "1.5").code == 2
    one_line(attnseg("train", *small), 2, "attnseg train DATA")
    one_line(attnseg("train", dataset, "--device", "tpu9", *small), 2, "--device tpu9")


def test_no_run_to_predict_with(attnseg, dataset):
    one_line(attnseg("predict", dataset / "images"), 1, "no finished run", "-m")


def test_debug_shows_the_traceback(attnseg):
    from attnseg.errors import DataError

    for arguments in (["--debug", "evaluate", "x", "y"], ["evaluate", "x", "y", "--debug"]):
        with pytest.raises(DataError):
            attnseg(*arguments)


def test_existing_run(attnseg, dataset, model, small):
    result = attnseg("train", dataset, "-o", "runs/toy", *small)
    one_line(result, 1, "--resume", "--overwrite")


def test_a_gzip_of_text(predict, tmp_path):
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"hello " * 100))
    result = predict(tmp_path / "text.nii.gz")
    assert result.code == 3
    assert "not a NIfTI file" in result.err
