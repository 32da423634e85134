"""Deletion and insertion curves of gates as a figure, for notebooks, PNG and SVG."""

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from attnseg.errors import UsageError
from attnseg.evaluation import Judgement
from attnseg.evaluation.faithfulness import Curve
from attnseg.visualization.faithfulness_svg import HIGHEST
from attnseg.visualization.figures import Drawing

_RANDOM = "#57606a"  # told apart with any colour vision, and by their dashes
_WIDTH, _ROW = 8.0, 3.0  # inches


def faithfulness_figure(judgement: Judgement) -> Drawing:
    """A row a gate: Dice when its voxels are closed, and when all but some are.

    Args:
        judgement: of `judge_gates` with `replace_gates`.

    Raises:
        UsageError: gates were not replaced.
    """
    tried = [(gate.gate, gate.faithfulness) for gate in judgement.gates if gate.faithfulness]
    if not tried:
        raise UsageError("no gate was replaced; call judge_gates with replace_gates=True")
    figure = Drawing(figsize=(_WIDTH, _ROW * len(tried)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(tried), 2, sharey=True, squeeze=False)
    for axes, (gate, found) in zip(grid, tried, strict=True):
        _draw(axes[0], found.deletion, f"gate {gate}: deletion", "share of voxels closed")
        _draw(axes[1], found.insertion, f"gate {gate}: insertion", "share of voxels kept")
        axes[0].set_ylabel(f"Dice against the {judgement.against}")
    grid[0][0].legend(frameon=False)
    return figure


def _draw(axes: Axes, curve: Curve, title: str, label: str) -> None:
    axes.plot(curve.shares, curve.random, "--", color=_RANDOM, label="voxels at random")
    axes.plot(curve.shares, curve.dice, "o-", color=HIGHEST, label="highest α first")
    axes.set(title=title, xlabel=label, xlim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
