"""2D networks: on pictures, and slice by slice on volumes."""

import numpy as np
import PIL.Image
import pytest
import torch

from attnseg.errors import DataError
from attnseg.images import read_image, read_labels
from attnseg.inference import Predictor, find_scans, predict_cohort, stream_windows
from attnseg.inference.backends import torch_backend
from attnseg.models import load_model
from attnseg.preprocessing import preprocess

CPU = torch.device("cpu")


def whole(volume, network, **settings):
    return torch.cat([rows for _, rows in stream_windows(volume, network, **settings)], dim=1)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
def test_a_volume_equals_its_slices_one_by_one(make_model, slice_axis, overlap):
    """A window as large as the slice: the network sees each slice once, as a whole."""
    shape = (7, 9, 5)
    network, spec = load_model(make_model(slice_axis=slice_axis, patch=shape))
    assert spec.slice_axis == slice_axis
    volume = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
    backend = torch_backend(network, CPU, slice_axis=slice_axis)
    with torch.no_grad():
        found = whole(volume, backend, patch=spec.patch, overlap=overlap)
        slices = volume.movedim(1 + slice_axis, 0)
        expected = torch.stack([network(each[None])[0] for each in slices], dim=1 + slice_axis)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("overlap", [0.25, 0.5])
@pytest.mark.parametrize("shape", [(23, 31), (12, 16), (9, 40), (5, 7)])
def test_pictures_equal_monais_sliding_window(make_model, shape, overlap):
    """Larger than the patch, equal to it, and smaller."""
    from monai.inferers import sliding_window_inference

    network, spec = load_model(make_model(slice_axis=2))
    picture = torch.randn(1, *shape, generator=torch.Generator().manual_seed(2))
    backend = torch_backend(network, CPU, slice_axis=2)
    with torch.no_grad():
        expected = sliding_window_inference(
            picture[None], spec.patch[:2], 1, network, overlap=overlap, mode="gaussian"
        )[0]
        found = whole(picture[..., None], backend, patch=spec.patch, overlap=overlap)
    torch.testing.assert_close(found[..., 0], expected, atol=1e-4, rtol=0)


def test_a_mask_lies_on_its_pictures_pixels(make_model, make_picture, tmp_path):
    """Pixel by pixel what the network says of the picture, right and front first as it sees it."""
    path = make_picture(rows=16, columns=12)
    model = make_model(slice_axis=2, seed=2)
    network, spec = load_model(model)
    segmentation = Predictor.load(model, device="cpu").predict(path)
    assert segmentation.labels.shape == (12, 16, 1)
    with PIL.Image.open(path) as picture:
        pixels = np.asarray(picture).astype(np.float32)
    normal = (pixels - pixels[pixels != 0].mean()) / pixels[pixels != 0].std()
    turned = torch.from_numpy(normal.T[::-1, ::-1].copy())
    with torch.no_grad():
        classes = network(turned[None, None])[0].argmax(dim=0).numpy()
    expected = np.array(spec.label_values)[classes[::-1, ::-1].T]
    assert len(np.unique(expected)) == 3, "a test in which every class occurs"
    outcomes = predict_cohort(
        find_scans([path], num_channels=1),
        Predictor.load(model, device="cpu"),
        tmp_path / "out",
        model_id="x",
    )
    assert outcomes[0].mask == "picture.png"
    with PIL.Image.open(tmp_path / "out" / "picture.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), expected)


def test_a_photograph_that_is_stored_turned(make_model, make_picture, tmp_path):
    """Its mask is that of the picture as shown, and the manifest says that it was turned."""
    upright = make_picture("upright.png", rows=16, columns=12)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    with PIL.Image.open(upright) as picture:
        stored = picture.transpose(PIL.Image.Transpose.ROTATE_90)
        stored.save(upright.with_name("turned.png"), exif=exif)
    outcomes = predict_cohort(
        find_scans([upright.parent], num_channels=1),
        Predictor.load(make_model(slice_axis=2, seed=2), device="cpu"),
        tmp_path / "out",
        model_id="x",
    )
    of = {outcome.name: outcome for outcome in outcomes}
    turned, expected = (
        np.asarray(PIL.Image.open(tmp_path / "out" / f"{name}.png"))
        for name in ("turned", "upright")
    )
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(turned, expected)
    told = [each for each in of["turned"].warnings if "EXIF orientation is 6" in each]
    assert len(told) == 1
    assert of["turned"].warnings == (*told, *of["upright"].warnings)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_mixed(make_model, make_picture, channels):
    predictor = Predictor.load(make_model(slice_axis=2, channels=channels), device="cpu")
    for colour in (False, True):
        path = make_picture(f"{colour}.png", colour=colour)
        assert predictor.read(path).array.shape == (channels, 31, 23, 1)
        assert predictor.predict(path).labels.shape == (31, 23, 1)


def test_a_network_of_slices_segments_a_volume(make_model, make_scan, tmp_path):
    """Anisotropic data: the mask is a volume on the scan's grid."""
    predictor = Predictor.load(make_model(slice_axis=2, spacing=(1.0, 1.0, 2.0)), device="cpu")
    path = make_scan()
    segmentation = predictor.predict(path)
    assert segmentation.labels.shape == read_image(path).geometry.shape
    volume, _ = preprocess(read_image(path), predictor.spec.preprocessing)
    assert volume.shape[3] > 1
    predict_cohort(find_scans([path], num_channels=1), predictor, tmp_path / "out", model_id="x")
    mask = read_labels(tmp_path / "out" / "scan.nii.gz")
    np.testing.assert_array_equal(mask.array[0], segmentation.labels)


def test_a_model_of_volumes_refuses_pictures(make_model, make_picture):
    path = make_picture()
    for model in (make_model(), make_model(slice_axis=0, name="sagittal")):
        with pytest.raises(DataError, match=r"picture\.png: a picture, and this model segments v"):
            Predictor.load(model).predict(path)


@pytest.mark.parametrize("slice_axis", [0, 2])
def test_attention_of_slices(make_model, make_scan, slice_axis):
    predictor = Predictor.load(make_model(slice_axis=slice_axis, gate="skip"), device="cpu")
    image = read_image(make_scan())
    alpha = predictor.attention(image)["0"]
    assert alpha.shape == image.geometry.shape
    assert 0 < alpha.min() < alpha.max() < 1
    gate = predictor.networks[0].gates["0"]
    torch.nn.init.zeros_(gate.psi_weight)
    torch.nn.init.constant_(gate.psi_bias, 0.3)
    constant = predictor.attention(image)["0"]
    np.testing.assert_allclose(constant, 1 / (1 + np.exp(-0.3)), rtol=1e-5)
