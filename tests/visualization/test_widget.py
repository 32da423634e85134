"""The widget of a notebook: what it is handed, and what a browser makes of it."""

import base64
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from chromium import chromium_tab, find_chromium

from attnseg.errors import DataError, UsageError
from attnseg.images import Geometry, Image
from attnseg.inference import Segmentation
from attnseg.visualization import show_volume

ipyniivue = pytest.importorskip("ipyniivue")

SHAPE = (20, 24, 16)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
NAMES = {2: "liver", 5: "pancreas", 7: "<spleen>"}
ORANGE, BLUE, GREEN = (230, 159, 0, 255), (86, 180, 233, 255), (0, 158, 115, 255)


def scan(channels: int = 1) -> Image:
    values = np.random.default_rng(0).integers(20, 200, (channels, *SHAPE))
    return Image(values.astype(np.float32), Geometry(SHAPE, AFFINE))


def mask() -> np.ndarray:
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[4:10, 6:18, 4:12] = 2
    labels[12:16, 6:18, 4:12] = 7
    return labels


def alpha() -> np.ndarray:
    return np.random.default_rng(1).random(SHAPE, dtype=np.float32)


def stored(volume: Any, folder: Path) -> nib.Nifti1Image:
    path = folder / f"{volume.id}.nii.gz"
    path.write_bytes(volume.data)
    return nib.load(path)


def test_the_browser_is_handed_what_was_given(tmp_path: Path) -> None:
    viewer, _ = show_volume(scan(2), mask(), names=NAMES, attention=alpha()).children
    first, labels, attention = viewer.volumes
    found = stored(first, tmp_path)
    np.testing.assert_array_equal(np.asarray(found.dataobj), scan(2).array[0])
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert (first.cal_min, first.cal_max) == tuple(np.percentile(scan(2).array[0], (1, 99)))
    assert (first.colormap, first.opacity) == ("gray", 1.0)

    found = stored(labels, tmp_path)
    np.testing.assert_array_equal(np.array([0, 2, 7])[np.asarray(found.dataobj)], mask())
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert labels.opacity == 0.5

    found = stored(attention, tmp_path)
    np.testing.assert_allclose(found.get_fdata(), alpha(), atol=0.5001 / 255)
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert (attention.colormap, attention.opacity) == ("inferno", 0.5)
    assert (attention.cal_min, attention.cal_max) == (0, 1)


def test_labels_keep_the_colours_and_names_of_the_figures() -> None:
    viewer, text = show_volume(scan(), mask(), names=NAMES).children
    table = viewer.volumes[1].colormap_label
    # The pancreas is missing from this scan, and its blue is not handed on.
    assert tuple(table.lut) == (0, 0, 0, 0, *ORANGE, *GREEN)
    assert (table.min, table.max) == (0, 2)
    assert table.labels == ["background", "liver", "<spleen>"]
    assert "#e69f00" in text.value
    assert "&lt;spleen&gt;" in text.value
    viewer._handle_custom_msg({"event": "location_change", "data": {"string": "1 < 2"}}, [])
    assert text.value.endswith("<div>1 &lt; 2</div>")
    assert "liver" in text.value


def test_a_segmentation_brings_its_labels_and_names() -> None:
    segmentation = Segmentation(mask(), NAMES, scan())
    viewer, text = show_volume(segmentation).children
    assert [volume.name for volume in viewer.volumes] == ["image.nii.gz", "labels.nii.gz"]
    assert "liver" in text.value
    _, text = show_volume(segmentation, names={2: "Leber"}).children
    assert "Leber" in text.value
    assert "label 7" in text.value


def test_a_mask_as_read_and_a_mask_without_labels() -> None:
    as_read = Image(mask()[None], Geometry(SHAPE, AFFINE))
    viewer, _ = show_volume(scan(), as_read).children
    assert tuple(viewer.volumes[1].colormap_label.lut) == (0, 0, 0, 0, *ORANGE, *BLUE)
    viewer, text = show_volume(scan(), np.zeros(SHAPE, dtype=np.uint8)).children
    assert len(viewer.volumes[1].colormap_label.lut) == 8
    assert text.value == ""


def test_pictures_keep_their_colours(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (3, 9, 7, 1)).astype(np.float32)
    picture = Image(pixels, Geometry((9, 7, 1), np.eye(4)), path=Path("cells.png"))
    viewer, _ = show_volume(picture).children
    found = np.asarray(stored(viewer.volumes[0], tmp_path).dataobj)
    for channel, name in enumerate("RGB"):
        np.testing.assert_array_equal(found[name], pixels[channel])
    assert viewer.opts.slice_type == ipyniivue.SliceType.AXIAL


def test_what_no_browser_can_draw_is_thinned(tmp_path: Path) -> None:
    values = np.random.default_rng(3).random((1, 2, 2050, 3), dtype=np.float32)
    long = Image(values, Geometry((2, 2050, 3), AFFINE))
    labels = (values[0] > 0.5).astype(np.uint8)
    viewer, text = show_volume(long, labels, attention=values[0]).children
    scan, mask, alpha = (stored(volume, tmp_path) for volume in viewer.volumes)
    np.testing.assert_array_equal(scan.get_fdata(), values[0, :, ::2])
    np.testing.assert_array_equal(mask.get_fdata(), labels[:, ::2])
    np.testing.assert_allclose(alpha.get_fdata(), values[0, :, ::2], atol=0.5001 / 255)
    for each in (scan, mask, alpha):
        np.testing.assert_allclose(each.affine, AFFINE @ np.diag([1, 2, 1, 1]))
    assert "of 2 × 2050 × 3 voxels, 2 × 1025 × 3 are shown" in text.value


def test_what_cannot_be_shown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"mask of shape \(20, 24, 15\).*give an array on its grid"):
        show_volume(scan(), mask()[..., 1:])
    moved = Image(mask()[None], Geometry(SHAPE, AFFINE + np.eye(4, k=3) * 9))
    with pytest.raises(DataError, match="9 mm off it; give the mask of this scan"):
        show_volume(scan(), moved)
    with pytest.raises(DataError, match="α lies between 0 and 1"):
        show_volume(scan(), attention=1.5 * alpha())
    monkeypatch.setattr("attnseg.visualization.widget.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"not installed; pip install 'attnseg\[notebooks\]'"):
        show_volume(scan())


# What Jupyter does for a widget: a model of each, and the package's script as a module of its own.
_PAGE = """<!doctype html><body><div id="cell"></div><script>
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const states = STATES, models = {}, sent = [];
class Model {
  constructor(state) {
    this.state = state;
    this.called = {};
    this._comm_live = true;
    this.widget_manager = { get_model: async (id) => models[id] };
    for (const [key, value] of Object.entries(state)) {
      if (value && value.base64) state[key] = bytes(value.base64);
    }
  }
  get(key) { return this.state[key]; }
  set(key, value) {
    this.state[key] = value;
    for (const call of this.called["change:" + key] || []) call();
  }
  on(event, call) { (this.called[event] ||= []).push(call); }
  off() {}
  save_changes() {}
  send_sync_message() {}
  send(content) { sent.push(content); }
}
for (const [id, state] of Object.entries(states)) models[id] = new Model(state);
const viewer = models[VIEWER];
const script = new Blob([viewer.get("_esm")], { type: "text/javascript" });
import(URL.createObjectURL(script)).then(async ({ default: widget }) => {
  await widget.initialize({ model: viewer });
  await widget.render({ model: viewer, el: document.getElementById("cell") });
  document.body.dataset.ready = "yes";
});
</script>"""


def page_of(viewer: Any) -> str:
    """The widget as a page without Jupyter."""

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return {"base64": base64.b64encode(value).decode()}
        return value

    states = {
        widget.model_id: {key: plain(value) for key, value in widget.get_state().items()}
        for widget in (viewer, *viewer.volumes)
    }
    text = json.dumps(states, default=str).replace("<", "\\u003c")
    return _PAGE.replace("STATES", text).replace("VIEWER", json.dumps(viewer.model_id))


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="needs chromium")
def test_a_browser_draws_the_widget_without_a_network(tmp_path: Path) -> None:
    # A liver beside the middle, where the slices would not meet it without being told to.
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[3:8, 14:22, 2:6] = 2
    viewer, _ = show_volume(scan(), labels, names=NAMES).children
    page = tmp_path / "widget.html"
    page.write_text(page_of(viewer), encoding="utf-8")

    def coloured(picture: np.ndarray) -> int:
        """Pixels of the liver's orange: red well above blue."""
        shades = picture.astype(int)
        return int((shades[..., 0] - shades[..., 2] > 40).sum())

    with chromium_tab(tmp_path / "profile") as tab:
        tab.open(page.as_uri(), size=(900, 500))
        assert coloured(tab.picture()) > 1000
        model = json.dumps(viewer.volumes[1].model_id)
        tab.run(f"models[{model}].set('opacity', 0)")
        assert coloured(tab.picture()) == 0
        for event in ("mousePressed", "mouseReleased"):  # on the liver, in the axial plane
            tab.call(
                "Input.dispatchMouseEvent", type=event, x=95, y=95, button="left", clickCount=1
            )
        told = tab.run("sent.findLast((each) => each.event === 'location_change').data.string")
        assert told.split()[-1] == "liver"
        assert tab.errors == []
        assert tab.requested
        assert all(each.startswith(("file:", "blob:", "data:")) for each in tab.requested)
