"""What figures of surfaces cost: attnseg, DeepMind's surface-distance and MONAI in turns.

    python benchmarks/metrics.py [--data ../shared/data/hippocampus] [--predictions FOLDER]
        [--pairs 30] [--json benchmarks/results/metrics.json]

Every arm computes NSD, HD95 and ASSD of both labels of a pair that is already in memory. Without a
folder of predictions the references are compared with copies that are shifted, and eroded or
dilated, by a seeded rule. MONAI's distances are between voxels of the boundary: its numbers are
others, its work is the same; torch has one thread, with which MONAI is fastest here (with two, a
pair takes half a second). A pair of 512×512×400 voxels with 25 ellipsoids shows time and memory
of all figures of `attnseg evaluate` on a large case.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
from _measure import measured
from scipy.ndimage import binary_dilation, binary_erosion

from attnseg.evaluation import label_values, overlap_counts, surface_figures
from attnseg.evaluation.figures import case_figures, label_sources
from attnseg.images import read_labels

LABELS = (1, 2)
TOLERANCE_MM = 1.0
LARGE, LARGE_SPACING_MM = (512, 512, 400), (0.8, 0.8, 1.0)
Spacing = tuple[float, float, float]
Arm = Callable[[np.ndarray, np.ndarray, Spacing], np.ndarray]


def ours(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """`[labels, 3]` NSD, HD95, ASSD by attnseg."""
    rows = []
    for value in LABELS:
        found = surface_figures(
            prediction == value,
            reference == value,
            spacing_mm=spacing_mm,
            tolerance_mm=TOLERANCE_MM,
        )
        rows.append([found.nsd, found.hd95_mm, found.assd_mm])
    return np.array(rows)


def deepmind(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """The same by surface-distance, its distances computed once a label."""
    import surface_distance as peer

    rows = []
    for value in LABELS:
        found = peer.compute_surface_distances(reference == value, prediction == value, spacing_mm)
        there, back = found["surfel_areas_gt"], found["surfel_areas_pred"]
        moved = (found["distances_gt_to_pred"] * there).sum()
        moved += (found["distances_pred_to_gt"] * back).sum()
        nsd = peer.compute_surface_dice_at_tolerance(found, TOLERANCE_MM)
        hd95 = peer.compute_robust_hausdorff(found, 95)
        rows.append([nsd, hd95, moved / (there.sum() + back.sum())])
    return np.array(rows)


def monai(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """The same three by MONAI's functions, which look for the surfaces once each."""
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    values = np.array(LABELS)[:, None, None, None]
    masks = [torch.from_numpy(mask == values)[None] for mask in (prediction, reference)]
    options: dict[str, Any] = {"include_background": True, "spacing": list(spacing_mm)}
    found = [
        compute_surface_dice(*masks, [TOLERANCE_MM] * len(LABELS), **options),
        compute_hausdorff_distance(*masks, percentile=95, **options),
        compute_average_surface_distance(*masks, symmetric=True, **options),
    ]
    return np.stack([each[0].numpy() for each in found], axis=1)


ARMS: dict[str, Arm] = {"attnseg": ours, "surface-distance": deepmind, "monai": monai}


def perturbed(labels: np.ndarray, seed: int) -> np.ndarray:
    """Each label shifted by up to two voxels along each axis, then eroded, dilated or left."""
    rng = np.random.default_rng(seed)
    result = np.zeros_like(labels)
    for value in LABELS:
        moved = np.roll(labels == value, rng.integers(-2, 3, size=3), axis=(0, 1, 2))
        change = rng.integers(3)
        if change:
            moved = (binary_erosion, binary_dilation)[change - 1](moved)
        result[moved] = value
    return result


def real_pairs(data: Path, predictions: Path | None, count: int) -> list[Any]:
    """(prediction, reference, spacing) of that many cases in which both masks have all labels."""
    pairs = []
    for number, path in enumerate(sorted((data / "labelsTr").glob("*.nii.gz"))):
        if predictions is not None and not (predictions / path.name).is_file():
            continue
        mask = read_labels(path)
        reference = mask.array[0]
        prediction = (
            perturbed(reference, number)
            if predictions is None
            else read_labels(predictions / path.name).array[0]
        )
        if all(set(LABELS) <= label_values(each) for each in (prediction, reference)):
            pairs.append((prediction, reference, mask.geometry.spacing_mm))
    return pairs[:count]


def small(pairs: list[Any], rounds: int) -> dict[str, Any]:
    """Milliseconds a pair of each arm, and how far the figures are from surface-distance's."""
    medians: dict[str, list[float]] = {name: [] for name in ARMS}
    largest = dict.fromkeys(ARMS, 0.0)
    for pair in pairs:
        steps = {name: lambda arm=arm, pair=pair: arm(*pair) for name, arm in ARMS.items()}
        for name, seconds in common.in_turns(steps, rounds=rounds).items():
            medians[name].append(1000 * float(np.median(seconds)))
        expected = deepmind(*pair)
        for name, arm in ARMS.items():
            largest[name] = max(largest[name], float(np.abs(arm(*pair) - expected).max()))
    return {
        name: {
            "ms": common.spread(medians[name]),
            "times_attnseg": round(
                float(np.median(np.array(medians[name]) / np.array(medians["attnseg"]))), 2
            ),
            "largest_difference_to_surface_distance": float(f"{largest[name]:.2g}"),
        }
        for name in ARMS
    }


def ellipsoids(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and reference `[512, 512, 400]`, uint8 in the order of NIfTI: 25 labels, each
    moved and resized by some voxels."""
    rng = np.random.default_rng(seed)
    masks = [np.zeros(LARGE, dtype=np.uint8, order="F") for _ in range(2)]
    for value in range(1, 26):
        row, column = divmod(value - 1, 5)
        center = np.array([60 + 98 * row, 60 + 98 * column, rng.integers(120, 280)], dtype=float)
        radii = rng.uniform((8, 8, 8), (46, 46, 110))
        for mask, sign in zip(masks, (1, -1), strict=True):
            middle = center + sign * rng.uniform(-1.5, 1.5, size=3)
            size = radii + sign * rng.uniform(-1, 1, size=3)
            low = np.maximum(np.floor(middle - size).astype(int), 0)
            high = np.minimum(np.ceil(middle + size).astype(int) + 1, LARGE)
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            grids = np.ogrid[box]
            away = sum(((g - m) / s) ** 2 for g, m, s in zip(grids, middle, size, strict=True))
            mask[box][away <= 1] = value
    return masks[0], masks[1]


def large() -> dict[str, Any]:
    """Seconds and memory of all figures of the large pair, and of one label's surface."""
    prediction, reference = ellipsoids(0)
    values = label_values(reference)

    def everything() -> dict[int, dict[str, float]]:
        counts = overlap_counts(prediction, reference, values)
        return case_figures(
            prediction,
            reference,
            counts=counts,
            sources=label_sources(counts, ()),
            spacing_mm=LARGE_SPACING_MM,
            tolerance_mm=TOLERANCE_MM,
        )

    found, cost = measured(everything)
    largest = max(values, key=lambda value: np.count_nonzero(reference == value))
    masks = prediction == largest, reference == largest
    import surface_distance as peer

    _, alone = measured(
        lambda: surface_figures(*masks, spacing_mm=LARGE_SPACING_MM, tolerance_mm=TOLERANCE_MM)
    )
    _, theirs = measured(lambda: peer.compute_surface_distances(*masks, LARGE_SPACING_MM))
    return {
        "labels": len(found),
        "inputs_mb": round((prediction.nbytes + reference.nbytes) / 1e6),
        "all_figures": {key: round(cost[key], 2) for key in ("seconds", "above_mb")},
        "surface_of_the_largest_label": {
            "voxels": int(np.count_nonzero(masks[1])),
            "attnseg": {key: round(alone[key], 2) for key in ("seconds", "above_mb")},
            "surface-distance": {key: round(theirs[key], 2) for key in ("seconds", "above_mb")},
        },
    }


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/hippocampus"))
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=common.RESULTS / "metrics.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # surface-distance uses names that SciPy has moved since

    import torch

    torch.set_num_threads(1)
    results = {"large": large()}
    print(results["large"])
    pairs = real_pairs(arguments.data, arguments.predictions, arguments.pairs)
    results["hippocampus"] = small(pairs, arguments.rounds)
    rows = [("arm", "ms a pair", "times attnseg", "largest difference")]
    rows += [
        (
            name,
            found["ms"]["median"],
            found["times_attnseg"],
            found["largest_difference_to_surface_distance"],
        )
        for name, found in results["hippocampus"].items()
    ]
    print(common.table(rows))
    common.write_result(
        arguments.json,
        settings={
            "pairs": len(pairs),
            "rounds": arguments.rounds,
            "tolerance_mm": TOLERANCE_MM,
            "predictions": arguments.predictions or "references, shifted and eroded or dilated",
            "large": [*LARGE],
        },
        results=results,
    )


if __name__ == "__main__":
    main()
