"""Nothing heavy is imported before it is needed; the house's layers hold."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

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
def test_every_module_is_imported_where_unix_has_no_modules_of_its_own():
    """As on Windows. What other packages import is theirs: on Windows they do not."""
    code = """
import builtins, importlib, pkgutil, signal
whole = builtins.__import__
absent = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "crypt"}
def without(name, globals=None, *rest, **more):
    importer = (globals or {}).get("__name__", "")
    if name.partition(".")[0] in absent and importer.startswith("attnseg"):
        raise ImportError(f"{importer} imports {name}")
    return whole(name, globals, *rest, **more)
builtins.__import__ = without
import attnseg
names = [each.name for each in pkgutil.walk_packages(attnseg.__path__, "attnseg.")]
names.remove("attnseg.__main__")
for name in names:
    importlib.import_module(name)
from attnseg.memory import peak_bytes, resident_bytes
assert resident_bytes() > 0
print("imported", len(names))
exec("import resource", {"__name__": "elsewhere"})
try:
    exec("import resource", {"__name__": "attnseg.planted"})
except ImportError as error:
    assert str(error) == "attnseg.planted imports resource"
else:
    raise AssertionError("the test cannot fail")
"""
    assert "attnseg" in loaded_after(code)


def test_contracts_hold_for_every_module_of_the_package():
    """A new module is a source of each of them without an entry; the exceptions are the doors."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    doors = [each for each in settings["importlinter"]["contracts"] if each["type"] == "forbidden"]
    assert len(doors) == 10
    for each in doors:
        assert each["source_modules"] == ["attnseg"], each["name"]
    exempt = settings["ruff"]["lint"]["per-file-ignores"]
    assert [name for name in exempt if name.startswith("attnseg/") and name.endswith(".py")] == []


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
