"""What `prediction.py` found, as one figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_OURS, _THEIRS = "#0a6e8a", "#b0b0b0"


def draw(results: Mapping[str, Any], path: Path) -> None:
    """A panel for every part that was measured; nothing where there is none."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = [
        panel
        for name, make in (
            ("export", _export),
            ("network", _network),
            ("cohort", _cohort),
            ("growth", _growth),
        )
        if name in results
        for panel in make(results[name])
    ]
    if not panels:
        return
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(5.6 * columns, 2.9 * rows), squeeze=False, layout="constrained"
    )
    for place, panel in zip(axes.flat, panels, strict=False):
        panel(place)
    for place in axes.flat[len(panels) :]:
        place.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    print(f"drawn to {path}")


def _export(part: Mapping[str, Any]) -> list[Any]:
    arms = part["smooth"]["arms"]
    return [
        _bars("export, logits to labels, s", _figures(arms, "seconds")),
        _bars("export, memory above the logits, GB", _figures(arms, "above_mb", scale=1e-3)),
    ]


def _network(part: Mapping[str, Any]) -> list[Any]:
    return [
        _bars(f"one window of {size}, s", {name: row["seconds"] for name, row in rows.items()})
        for size, rows in part.items()
        if size != "machine"
    ]


def _cohort(part: Mapping[str, Any]) -> list[Any]:
    title = f"{part['used']['scans']} hippocampus scans, cold start, s"
    return [
        _bars(title, _figures(part["arms"], "seconds")),
        _bars("the same, peak memory, GB", _figures(part["arms"], "together_mb", scale=1e-3)),
    ]


def _growth(part: Mapping[str, Any]) -> list[Any]:
    return [
        _lines(part["rows"], "ns_per_voxel", "prediction, ns a voxel", 1.0),
        _lines(part["rows"], "peak_mb", "peak memory, GB", 1e-3),
    ]


def _figures(arms: Mapping[str, Any], key: str, *, scale: float = 1.0) -> dict[str, dict]:
    return {
        name: {part: scale * value for part, value in row[key].items() if part != "n"}
        for name, row in arms.items()
    }


def _bars(title: str, rows: Mapping[str, Mapping[str, float]]) -> Any:
    """Medians as bars with their quartiles, the first on top; attnseg's in colour."""

    def panel(axes: Any) -> None:
        names = list(rows)[::-1]
        medians = [rows[name]["median"] for name in names]
        low = [max(0.0, rows[name]["median"] - rows[name]["quartile_1"]) for name in names]
        high = [max(0.0, rows[name]["quartile_3"] - rows[name]["median"]) for name in names]
        colours = [_OURS if name.startswith("attnseg") else _THEIRS for name in names]
        axes.barh(names, medians, xerr=[low, high], color=colours, ecolor="#404040")
        for index, value in enumerate(medians):
            axes.annotate(
                f" {value:.3g}", (value + high[index], index), va="center", fontsize="small"
            )
        axes.set_title(title, fontsize="medium")
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)

    return panel


def _lines(rows: Sequence[Mapping[str, Any]], key: str, title: str, scale: float) -> Any:
    """One line for every number of classes and arm over the size of the scan."""

    def panel(axes: Any) -> None:
        for index, classes in enumerate(dict.fromkeys(row["classes"] for row in rows)):
            for by, style in (("attnseg", "-o"), ("monai", ":s")):
                known = [
                    (row["voxels"] / 1e6, scale * row[by][key])
                    for row in rows
                    if row["classes"] == classes and isinstance(row.get(by), Mapping)
                ]
                if known:
                    axes.plot(
                        *zip(*known, strict=True), style, color=f"C{index}",
                        label=f"{by}, {classes} classes", markersize=4,
                    )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="million voxels of the scan")
        sizes = sorted({row["voxels"] / 1e6 for row in rows})
        axes.set_xticks(sizes, [f"{size:.3g}" for size in sizes], minor=False)
        axes.set_xticks([], minor=True)
        for name in ("set_major_formatter", "set_minor_formatter"):
            getattr(axes.yaxis, name)("{x:g}")
        axes.tick_params(axis="y", which="both", labelsize="x-small")
        axes.set_title(title, fontsize="medium")
        # Below the panel, where it hides no line.
        axes.legend(fontsize="x-small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))
        axes.spines[["top", "right"]].set_visible(False)

    return panel
