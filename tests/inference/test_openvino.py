"""OpenVINO beside PyTorch: the same logits, nothing told to anyone, compiled once."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_disk import largest_file

from attnseg.errors import UsageError
from attnseg.inference import Predictor, openvino_backend
from attnseg.inference.backends import choose_backend, make_backend
from attnseg.inference.openvino_backend import openvino_network
from attnseg.models import AttentionUNet, load_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("gate", ["grid", "skip", "none"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(
    ("window", "strides"),
    [((16, 24, 8), (2, 2)), ((15, 11, 7), (2, 2)), ((12, 16, 5), ((1, 2, 2), (2, 2, 1)))],
)
def test_logits_equal_pytorchs(tmp_path, window, strides, norm, gate):
    """Also where nothing divides: crops, padded gates and upsampling by whole strides."""
    torch.manual_seed(0)
    network = AttentionUNet(
        3, 2, 4, channels=(4, 6, 8), strides=strides, norm=norm, gate=gate,
        gate_finest=gate != "none", deep_supervision=1,
    ).eval()  # fmt: skip
    patches = torch.randn(1, 2, *window)
    with torch.no_grad():
        expected = network(patches)
        run = openvino_network(network, channels=2, window=window, cache=tmp_path)
        torch.testing.assert_close(run(patches), expected, atol=1e-4, rtol=1e-4)


def test_slices_and_more_classes_than_features(tmp_path):
    torch.manual_seed(0)
    network = AttentionUNet(2, 1, 9, channels=(4, 6), strides=(2,)).eval()
    patches = torch.randn(1, 1, 14, 19)
    run = openvino_network(network, channels=1, window=(14, 19), cache=tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(run(patches), network(patches), atol=1e-4, rtol=1e-4)


def test_compiled_once_for_the_same_weights_and_window(tmp_path):
    network = AttentionUNet(3, 1, 2, channels=(4, 6), strides=(2,)).eval()
    patches = torch.randn(1, 1, 8, 8, 8)
    first = openvino_network(network, channels=1, window=(8, 8, 8), cache=tmp_path)(patches).clone()
    (blob,) = tmp_path.glob("*.blob")
    assert blob.stat().st_mode & 0o077 == 0, "of the user alone"
    written = blob.stat().st_mtime_ns, blob.read_bytes()
    again = openvino_network(network, channels=1, window=(8, 8, 8), cache=tmp_path)
    assert torch.equal(again(patches), first)
    assert blob.read_bytes() == written[1]
    openvino_network(network, channels=1, window=(8, 8, 10), cache=tmp_path)
    with torch.no_grad():
        network.heads[0].bias += 1
    changed = openvino_network(network, channels=1, window=(8, 8, 8), cache=tmp_path)
    torch.testing.assert_close(changed(patches), first + 1)
    assert len(list(tmp_path.glob("*.blob"))) == 3


def test_a_damaged_blob_is_compiled_anew(tmp_path):
    network = AttentionUNet(3, 1, 2, channels=(4, 6), strides=(2,)).eval()
    patches = torch.randn(1, 1, 8, 8, 8)
    first = openvino_network(network, channels=1, window=(8, 8, 8), cache=tmp_path)(patches).clone()
    (blob,) = tmp_path.glob("*.blob")
    whole = blob.read_bytes()
    blob.write_bytes(whole[: len(whole) // 3])
    again = openvino_network(network, channels=1, window=(8, 8, 8), cache=tmp_path)
    assert torch.equal(again(patches), first)
    assert len(blob.read_bytes()) == len(whole)


def test_blobs_that_another_process_removes_meanwhile(tmp_path, monkeypatch):
    """Two predictions at once keep no more than so many, each by itself."""
    for number in range(20):
        (tmp_path / f"{number}.blob").write_bytes(b"old")
        os.utime(tmp_path / f"{number}.blob", (number, number))
    listed = [*tmp_path.glob("*"), tmp_path / "new.blob", tmp_path / "gone.blob"]
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter(listed))
    openvino_backend._keep(tmp_path / "new.blob", b"new")
    monkeypatch.undo()
    kept = {path.name for path in tmp_path.glob("*.blob")}
    assert kept == {"new.blob", *(f"{number}.blob" for number in range(5, 20))}


def test_labels_of_both_back_ends_agree(make_model, make_scan, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model, scan = make_model(spacing=(0.9, 1.1, 1.7)), make_scan(shape=(30, 40, 20))
    labels = [
        Predictor.load(model, device="cpu", backend=name).predict(scan).labels
        for name in ("torch", "openvino")
    ]
    assert len(np.unique(labels[0])) == 3
    assert np.mean(labels[0] != labels[1]) < 1e-4, "ties alone"


def test_an_ensemble_of_compiled_networks(make_model, make_scan, monkeypatch, tmp_path):
    """Each overwrites its own output only."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    models = [make_model(seed=seed, name=f"m{seed}", mirror_axes=(0,)) for seed in (0, 1)]
    window = torch.randn(1, 1, 12, 16, 8)
    found = [
        Predictor.load(models, device="cpu", backend=name, mirror=True).runner(window)
        for name in ("torch", "openvino")
    ]
    torch.testing.assert_close(found[1], found[0], atol=1e-3, rtol=1e-4)


def test_auto_goes_by_the_work_alone():
    assert choose_backend("auto", CPU, multiply_adds=1e9) == "torch"
    assert choose_backend("auto", CPU, multiply_adds=1e13) == "openvino"
    assert choose_backend("auto", torch.device("cuda"), multiply_adds=1e13) == "torch"
    assert choose_backend("torch", CPU, multiply_adds=1e13) == "torch"
    with pytest.raises(UsageError, match="--backend tensorrt: unknown; use auto, torch or openv"):
        choose_backend("tensorrt", CPU, multiply_adds=1)
    with pytest.raises(UsageError, match="runs on the CPU, not on cuda; use --backend torch"):
        choose_backend("openvino", torch.device("cuda"), multiply_adds=1)


@pytest.mark.slow
def test_torch_compile_gives_the_same(make_model):
    network, spec = load_model(make_model())
    window = torch.randn(1, 1, *spec.patch)
    plain = make_backend(network, spec, CPU, backend="torch")
    compiled = make_backend(network, spec, CPU, backend="torch", compiled=True)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(window), plain(window), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_it_tells_nobody(tmp_path):
    """No socket is opened and nothing is written to the home folder but the compiled network."""
    script = """
import socket
class Refused(socket.socket):
    def __init__(self, *args, **kwargs):
        raise AssertionError("a socket was opened")
socket.socket = Refused
import torch
from attnseg.inference.openvino_backend import openvino_network
from attnseg.models import AttentionUNet
network = AttentionUNet(3, 1, 2, channels=(4, 6), strides=(2,)).eval()
openvino_network(network, channels=1, window=(8, 8, 8))(torch.zeros(1, 1, 8, 8, 8))
"""
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert [(file.parts[:3], file.suffix) for file in files] == [
        ((".cache", "attnseg", "openvino"), ".blob")
    ]


def test_a_cache_without_room_is_told_once(tmp_path, caplog):
    network = AttentionUNet(3, 1, 2, channels=(4, 6), strides=(2,)).eval()
    with largest_file(1000):
        for _ in range(2):
            openvino_network(network, channels=1, window=(8, 8, 8), cache=tmp_path)
    assert len(caplog.messages) == 1
    assert ".blob: larger than a file may be here" in caplog.text
    assert caplog.messages[0].endswith("the compiled network is not kept, and is compiled again")
    assert not list(tmp_path.iterdir())
