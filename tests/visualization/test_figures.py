"""Figures: colours where the labels are, true proportions, whole files, nothing global."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from attnseg.errors import DataError
from attnseg.evaluation import find_label_names
from attnseg.images import Geometry, Image, read_image, read_labels
from attnseg.visualization import colour_of, figure_to_array, overlay_figure, save_figure
from attnseg.visualization.layout import flow, place_panels, round_length
from attnseg.visualization.slices import display_planes

FILL = 0.3


def black_image(shape: tuple[int, int, int], spacing_mm: tuple[float, ...]) -> Image:
    return Image(np.zeros((1, *shape), np.float32), Geometry(shape, np.diag([*spacing_mm, 1])))


def pixels_like(pixels: np.ndarray, colour: tuple[float, ...]) -> np.ndarray:
    """Rows and columns `[N, 2]` of pixels with that colour, in 0..1, within 3 of 255."""
    return np.argwhere((np.abs(pixels - 255 * np.array(colour)) <= 3).all(axis=-1))


def box_of(figure: Figure, index: int) -> tuple[slice, slice]:
    """Pixels of the n-th slice shown."""
    (left, bottom), (right, top) = figure.axes[1 + index].get_position().get_points()
    width, height = figure.get_size_inches() * figure.dpi
    return (
        slice(round(height * (1 - top)), round(height * (1 - bottom))),
        slice(round(width * left), round(width * right)),
    )


@pytest.fixture
def two_cubes() -> tuple[Image, np.ndarray]:
    """Label 3 right and in front, label 500 left and behind, in the same slices; RAS, 1 mm."""
    labels = np.zeros((40, 40, 30), dtype=np.int16)
    labels[28:36, 28:36, 10:20] = 3
    labels[4:12, 4:12, 10:20] = 500
    return black_image((40, 40, 30), (1, 1, 1)), labels


def test_labels_are_filled_with_their_colours_at_their_places(
    two_cubes: tuple[Image, np.ndarray],
) -> None:
    image, labels = two_cubes
    figure = overlay_figure(image, labels, names={3: "front", 500: "back"})
    pixels = figure_to_array(figure)
    assert pixels.dtype == np.uint8
    assert pixels.shape[1:] == (1100, 3)
    axial = pixels[box_of(figure, 0)]
    side = axial.shape[1] / 40  # pixels per mm
    for rank, (row_mm, column_mm) in enumerate([(8, 8), (32, 32)]):
        places = pixels_like(axial, tuple(FILL * c for c in colour_of(rank)))
        assert places.mean(axis=0) == pytest.approx([row_mm * side, column_mm * side], abs=3)
        assert len(places) == pytest.approx((8 * side - 2) ** 2, rel=0.05)  # the outline covers 2
        outline = pixels_like(axial, colour_of(rank))
        assert len(outline) > 4 * 8 * side / 2


def test_voxels_have_their_true_proportions() -> None:
    labels = np.zeros((40, 40, 8), dtype=np.uint8)
    labels[10:30, 12:32, 2:6] = 1  # 20 × 20 × 20 mm
    image = black_image((40, 40, 8), (1, 1, 5))
    figure = overlay_figure(image, labels, names={})
    pixels = figure_to_array(figure)
    for index in range(3):
        places = pixels_like(pixels[box_of(figure, index)], tuple(FILL * c for c in colour_of(0)))
        height, width = np.ptp(places, axis=0)
        assert height == pytest.approx(width, abs=4)
        corners = figure.axes[1 + index].transData.transform([(0, 20), (20, 0)])
        across, down = np.diff(corners, axis=0)[0]
        assert across == pytest.approx(down)


def test_very_narrow_and_very_flat_slices_get_a_border() -> None:
    image = black_image((10, 30, 2), (1, 1, 1))
    panels = place_panels(display_planes(image, image.array[0]), image.array[0])
    ratios = [panel.width / panel.height for panel in panels]
    assert ratios == pytest.approx([0.45, 2.5, 2.5])
    assert panels[0].width_mm == pytest.approx(13.5)
    assert panels[2].height_mm == pytest.approx(12)
    assert panels[-1].left + panels[-1].width == pytest.approx(1080)


def test_attention_is_drawn_with_its_colour_map(two_cubes: tuple[Image, np.ndarray]) -> None:
    image, labels = two_cubes
    attention = np.full(labels.shape, 0.5, dtype=np.float32)
    attention[20:] = 1.0  # the patient's right half
    names = {3: "front", 500: "back"}
    plain = overlay_figure(image, labels, names=names)
    figure = overlay_figure(image, labels, names=names, attention=attention)
    assert figure.get_figheight() > 1.7 * plain.get_figheight()
    heat = figure_to_array(figure)[box_of(figure, 1)]  # below the axial slice
    colour_map = mpl.colormaps["magma"]
    height, width = heat.shape[:2]
    assert heat[height // 2, width // 4] / 255 == pytest.approx(colour_map(1.0)[:3], abs=0.02)
    assert heat[height // 2, 3 * width // 4] / 255 == pytest.approx(colour_map(0.5)[:3], abs=0.02)


def test_a_reference_is_outlined_where_the_prediction_missed_it(
    two_cubes: tuple[Image, np.ndarray],
) -> None:
    image, reference = two_cubes
    labels = np.where(reference == 3, reference, 0)
    figure = overlay_figure(image, labels, names={3: "front", 500: "back"}, reference=reference)
    axial = figure_to_array(figure)[box_of(figure, 0)]
    side = axial.shape[1] / 40
    corner = axial[round(26 * side) : round(38 * side), round(26 * side) : round(34 * side)]
    assert len(pixels_like(corner, (1, 1, 1))) > 4 * side
    assert len(pixels_like(axial, tuple(FILL * c for c in colour_of(1)))) == 0


def test_no_label_and_names_that_look_like_formulas() -> None:
    image = black_image((12, 12, 12), (1, 1, 1))
    labels = np.zeros((12, 12, 12), dtype=np.uint8)
    empty = overlay_figure(image, labels, names={1: "liver"})
    assert "no label" in [text.get_text() for text in empty.axes[0].texts]
    labels[4:8, 4:8, 4:8] = 1
    figure = overlay_figure(image, labels, names={1: "$\\frac", 2: "x"}, title="a_$b$ " * 3)
    assert "$\\frac" in [text.get_text() for text in figure.axes[0].texts]
    assert figure_to_array(figure).std() > 5


def test_a_long_legend_is_cut_and_says_so() -> None:
    labels = np.zeros((40, 4, 4), dtype=np.uint8)
    labels[:, :2, :2] = np.arange(1, 41)[:, None, None]
    names = {n: f"structure {n} with a name far too long for a legend" for n in range(1, 41)}
    figure = overlay_figure(black_image((40, 4, 4), (1, 1, 1)), labels, names=names)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "and 16 more" in texts
    assert "structure 24 with a name far to…" in texts
    assert "structure 25 with a name far to…" not in texts


def test_png_and_svg_are_written_whole_or_not_at_all(
    two_cubes: tuple[Image, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, labels = two_cubes
    figure = overlay_figure(image, labels, names={})
    png, svg = tmp_path / "new" / "figure.png", tmp_path / "new" / "figure.svg"
    save_figure(figure, png)
    save_figure(figure, svg)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.stat().st_size < 100_000
    assert ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    with pytest.raises(DataError, match=r"figure\.jpg: .*\.png or \.svg; change the suffix"):
        save_figure(figure, tmp_path / "figure.jpg")

    def fail(path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    before = png.read_bytes()
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, png)
    assert png.read_bytes() == before
    assert sorted(path.name for path in png.parent.iterdir()) == ["figure.png", "figure.svg"]


def test_importing_the_package_loads_no_matplotlib() -> None:
    code = (
        "import sys, attnseg.visualization as v; assert 'matplotlib' not in sys.modules; "
        "v.overlay_figure; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_layout_arithmetic() -> None:
    assert flow([40, 50, 30, 200, 10], 100) == [(0, 0), (40, 0), (0, 1), (0, 2), (0, 3)]
    assert [round_length(most) for most in (99, 50, 49.9, 1, 0.3)] == [50, 50, 20, 1, 0.2]


def test_left_and_right_of_a_real_scan(real_data: Path) -> None:
    folder = real_data / "head_neck_ct"
    scan = sorted((folder / "imagesTr").glob("*.nii.gz"))[0]
    path = folder / "labelsTr" / scan.name.replace("_0000", "")
    names = find_label_names(path)
    labels = read_labels(path).array[0]
    parotids = {value: name for value, name in names.items() if "Parotid" in name}
    labels = np.where(np.isin(labels, list(parotids)), labels, 0)
    figure = overlay_figure(read_image(scan), labels, names=parotids)
    coronal = figure_to_array(figure)[box_of(figure, 1)]
    columns = {
        name: pixels_like(coronal, colour_of(rank))[:, 1].mean()
        for rank, name in enumerate(parotids.values())
    }
    assert columns["RightParotid"] < coronal.shape[1] / 2 < columns["LeftParotid"]


def test_figures_draw_themselves_in_notebooks():
    from io import BytesIO

    import PIL.Image

    from attnseg.evaluation import GateJudgement, Judgement
    from attnseg.evaluation.attention import GateFigures
    from attnseg.evaluation.faithfulness import Curve, Faithfulness
    from attnseg.visualization import faithfulness_figure

    curve = Curve((0.0, 0.5, 1.0), (0.9, 0.6, 0.5), (0.9, 0.8, 0.5))
    found = Faithfulness({"as it is": 0.9}, curve, curve)
    gate = GateJudgement("1", GateFigures(0.5, 0.2, 0.9, 0.0, {}), {}, 1.0, found)
    figure = faithfulness_figure(Judgement("scan", (gate, gate), "reference"))
    lines = [line.get_ydata() for axes in figure.axes for line in axes.lines]
    assert len(figure.axes) == 4
    assert [list(line) for line in lines[:2]] == [list(curve.random), list(curve.dice)]
    with PIL.Image.open(BytesIO(figure._repr_png_())) as picture:
        assert picture.size == (800, 600)


def test_curves_need_gates_that_were_replaced():
    from attnseg.errors import UsageError
    from attnseg.evaluation import Judgement
    from attnseg.visualization import faithfulness_figure

    with pytest.raises(UsageError, match="replace_gates=True"):
        faithfulness_figure(Judgement("scan", (), "reference"))
