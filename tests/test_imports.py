"""Nothing heavy is imported before it is needed; the house's layers hold."""

import subprocess
import sys

import pytest

HEAVY = ["torch", "monai", "numpy", "nibabel", "scipy", "tensorboard", "pydantic", "yaml", "rich",
         "matplotlib", "safetensors", "isal", "triton", "openvino",
         "cc3d", "ray", "ipyniivue", "ipywidgets"]  # fmt: skip


def loaded_after(code: str) -> set[str]:
    """Top-level modules of a fresh interpreter after `code`."""
    script = f"{code}\nimport sys; print(' '.join(n for n in sys.modules if '.' not in n))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy():
    code = """
import sys
sys.argv = ["attnseg", "--help"]
from attnseg.cli.app import main
try:
    main()
except SystemExit as stop:
    assert stop.code in (0, None)
"""
    assert loaded_after(code) & set(HEAVY) == set()


def test_the_package_itself_loads_nothing_and_offers_its_names():
    assert loaded_after("import attnseg; attnseg.__version__") & set(HEAVY) == set()
    import attnseg

    for name in attnseg.__all__:
        assert getattr(attnseg, name)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = attnseg.nonsense


@pytest.mark.slow
def test_pictures_load_no_package_that_draws_before_they_are_drawn():
    code = "import attnseg.visualization; attnseg.visualization.show_volume"
    heavy = {"matplotlib", "ipyniivue", "ipywidgets", "anywidget"}
    assert loaded_after(code) & heavy == set()


@pytest.mark.slow
def test_prediction_loads_neither_monai_nor_the_training_package(tmp_path):
    code = f"""
import sys, numpy as np
from attnseg.images import Geometry, Image, write_image
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec
folder = {str(tmp_path)!r}
net = AttentionUNet(3, 1, 2, channels=(2, 4, 4), strides=(2, 2))
spec = ModelSpec.model_validate(dict(
    architecture=net.architecture, channel_names=["MRI"], patch=(8, 8, 8),
    preprocessing=dict(spacing_mm=(1, 1, 1), normalization=[dict(scheme="zscore")]),
    labels=[dict(value=0, name="background"), dict(value=1, name="a")]))
from pathlib import Path
save_model(Path(folder) / "m.safetensors", net, spec)
array = np.random.rand(1, 9, 9, 9).astype(np.float32)
write_image(Path(folder) / "scans" / "a.nii.gz", Image(array, Geometry((9, 9, 9), np.eye(4))))
model = folder + "/m.safetensors"
sys.argv = ["attnseg", "predict", folder + "/scans", "-m", model, "-o", folder + "/out"]
from attnseg.cli.app import main
try:
    main()
except SystemExit as stop:
    assert stop.code in (0, None)
assert (Path(folder) / "out" / "a.nii.gz").exists()
assert "attnseg.training" not in sys.modules
assert "torch._dynamo" not in sys.modules
"""
    assert loaded_after(code) & {"monai", "matplotlib", "tensorboard", "ray"} == set()


@pytest.mark.slow
def test_import_contracts():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
