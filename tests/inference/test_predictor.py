"""From a scan to labels on its own grid."""

import nibabel as nib
import numpy as np
import pytest
import torch

from attnseg.errors import DataError
from attnseg.images import Geometry, Image, read_image, write_labels
from attnseg.inference import Predictor
from attnseg.models import load_model
from attnseg.preprocessing import preprocess, resample


def plain(model, image):
    """The same prediction without streams: MONAI's windows, whole volumes."""
    from monai.inferers import sliding_window_inference

    network, spec = load_model(model)
    volume, grid = preprocess(image, spec.preprocessing)
    with torch.no_grad():
        logits = sliding_window_inference(
            volume[None], spec.patch, 1, network, overlap=0.5, mode="gaussian"
        )
        logits = resample(logits[0], grid.source_shape)[None]
    values = np.array(spec.label_values)
    return grid.axes.undo(values[logits.argmax(1)[0].numpy()]), logits


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 2.1, 1.3)])
def test_labels_equal_the_unstreamed_path(make_model, make_scan, spacing):
    model, image = make_model(spacing=spacing), read_image(make_scan())
    expected, logits = plain(model, image)
    found = Predictor.load(model).predict(image)
    top = torch.topk(logits[0], 2, dim=0).values
    _, grid = preprocess(image, load_model(model)[1].preprocessing)
    decided = grid.axes.undo((top[0] - top[1] > 1e-4).numpy())
    assert decided.mean() > 0.99
    np.testing.assert_array_equal(found.labels[decided], expected[decided])
    assert len(np.unique(found.labels)) == 3, "a test in which every class occurs"


def test_segmentation_tells_what_it_is(make_model, make_scan):
    path = make_scan()
    segmentation = Predictor.load(make_model(values=(0, 205, 500))).predict(path)
    assert segmentation.labels.dtype == np.uint16
    assert set(np.unique(segmentation.labels)) <= {0, 205, 500}
    assert segmentation.names == {205: "organ 205", 500: "organ 500"}
    assert segmentation.geometry.shape == segmentation.labels.shape == (13, 17, 9)
    np.testing.assert_array_equal(segmentation.geometry.affine, nib.load(path).affine)


def test_negative_labels_come_back(make_model, make_scan):
    segmentation = Predictor.load(make_model(values=(0, -1, 2))).predict(make_scan())
    assert segmentation.labels.dtype == np.int8
    assert -1 in segmentation.labels


def test_storage_order_does_not_matter(make_model, make_scan, tmp_path):
    """The same anatomy stored along other axes gets the same labels at the same places."""
    predictor = Predictor.load(make_model())
    image = read_image(make_scan(affine=np.diag([1.0, 1.0, 1.0, 1.0])))
    flip = np.array([[0, -1, 0, 12], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
    # Voxel (i', j', k') of the turned copy is voxel (12 - j', k', i') of the original.
    turned = np.ascontiguousarray(image.array[:, ::-1].transpose(0, 3, 1, 2))
    other = Image(turned, Geometry(turned.shape[1:], image.geometry.affine @ flip))
    ours = predictor.predict(image).labels
    theirs = predictor.predict(other).labels
    np.testing.assert_array_equal(theirs, ours[::-1].transpose(2, 0, 1))


def test_a_mask_lies_on_its_scan(make_model, make_scan, tmp_path):
    import SimpleITK as sitk

    path = make_scan()
    predictor = Predictor.load(make_model())
    segmentation = predictor.predict(path)
    mask = tmp_path / "mask.nii.gz"
    write_labels(mask, segmentation.labels, like=segmentation.image, dtype=predictor.label_type)
    scan, written = nib.load(path), nib.load(mask)
    assert written.shape == scan.shape
    assert written.affine.tobytes() == scan.affine.tobytes()
    assert written.get_data_dtype() == np.uint8
    theirs, ours = sitk.ReadImage(str(path)), sitk.ReadImage(str(mask))
    for index in [(0, 0, 0), (12, 16, 8), (3, 1, 7)]:
        np.testing.assert_allclose(
            ours.TransformIndexToPhysicalPoint(index), theirs.TransformIndexToPhysicalPoint(index)
        )


def test_attention_on_the_scans_grid(make_model, make_scan):
    model, path = make_model(gate="skip"), make_scan()
    predictor = Predictor.load(model)
    image = predictor.read(path)
    maps = predictor.attention(image)
    assert list(maps) == ["0"]
    alpha = maps["0"]
    assert alpha.shape == image.geometry.shape
    assert 0 < alpha.min() < alpha.max() < 1
    # A gate forced to one number gives that number everywhere, whatever windows and resampling do.
    gate = predictor.networks[0].gates["0"]
    torch.nn.init.zeros_(gate.psi_weight)
    torch.nn.init.constant_(gate.psi_bias, 0.3)
    constant = predictor.attention(image)["0"]
    np.testing.assert_allclose(constant, 1 / (1 + np.exp(-0.3)), rtol=1e-5)


def test_without_gates_there_is_no_attention(make_model, make_scan):
    assert Predictor.load(make_model(gate="none")).attention(make_scan()) == {}


def test_attention_maps_go_with_their_levels(tmp_path, make_scan):
    """Two gates, one forced open and one nearly shut: each map under its own level's name."""
    from attnseg.models import AttentionUNet
    from attnseg.spec import ModelSpec

    net = AttentionUNet(3, 1, 2, channels=(4, 6, 8), strides=(2, 2), gate_finest=True)
    for level, bias in (("0", 4.0), ("1", -4.0)):
        torch.nn.init.zeros_(net.gates[level].psi.weight)
        torch.nn.init.constant_(net.gates[level].psi.bias, bias)
    spec = ModelSpec.model_validate(
        {
            "architecture": net.architecture,
            "preprocessing": {"spacing_mm": (1, 1, 1), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["MRI"],
            "labels": [{"value": 0, "name": "background"}, {"value": 1, "name": "a"}],
            "patch": (8, 8, 8),
        }
    )
    maps = Predictor(net, spec, device="cpu").attention(make_scan())
    assert maps["0"].min() > 0.9
    assert maps["1"].max() < 0.1


def test_several_channels(make_model, make_scan):
    predictor = Predictor.load(make_model(channels=2))
    assert predictor.read(make_scan("pair", channels=2)).array.shape[0] == 2
    first, second = make_scan("one", seed=1), make_scan("two", seed=2)
    together = predictor.read(first, second)
    np.testing.assert_array_equal(together.array[1], read_image(second).array[0])
    with pytest.raises(DataError, match="1 channel"):
        predictor.read(first)
