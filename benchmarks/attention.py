"""Whether α can be trusted as an image: does it lie on the scan, and can windows' edges be seen?

    python benchmarks/attention.py --model runs/hippo --scans ../shared/data/hippocampus/imagesTr

For each scan: whether the affine of the written α is the scan's to the last bit, and per gate the
largest jump of α between neighbouring voxels across an edge of a window, in units of the largest
jump elsewhere, on the model's grid, where windows are stitched.
"""

import argparse
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from _common import write_result

from attnseg.inference import Job, Predictor, find_models, find_scans, predict_cohort
from attnseg.inference.attention import FLOOR
from attnseg.inference.stream import stream_windows
from attnseg.inference.windows import padding_of, window_starts
from attnseg.preprocessing import preprocess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    predictor = Predictor.load(find_models(arguments.model), overlap=arguments.overlap)
    scans = find_scans([arguments.scans], num_channels=1)[: arguments.count]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        job = Job(attention=True)
        outcomes = predict_cohort(scans, predictor, Path(folder), model_id="m", job=job)
        for scan, outcome in zip(scans, outcomes, strict=True):
            maps = nib.load(Path(folder) / outcome.attention[0])
            same = np.array_equal(maps.affine, nib.load(str(scan.paths[0])).affine)
            ratios = seam_ratios(predictor, predictor.read(*scan.paths))
            found.append({"scan": scan.name, "affine_equal": bool(same), "seam_ratio": ratios})
            print(f"{scan.name}: affine {'equal' if same else 'DIFFERS'}, seams {ratios}")
    if arguments.json:
        settings = {"model": str(arguments.model), "overlap": arguments.overlap}
        write_result(arguments.json, settings=settings, results={"scans": found})


def seam_ratios(predictor: Predictor, image) -> dict[str, float | None]:
    """Per gate, the largest jump at an edge of a window in that elsewhere; None: no edge inside."""
    volume, _ = preprocess(image, predictor.spec.preprocessing)
    patch, overlap = predictor.spec.patch, predictor.overlap
    with torch.inference_mode():
        rows = stream_windows(
            volume, predictor.gates.network(), patch=patch, overlap=overlap, floor=FLOOR
        )
        alpha = torch.cat([values for _, values in rows], dim=1).numpy()
    shape = volume.shape[1:]
    padding = padding_of(shape, patch)
    at = np.zeros(len(predictor.gates.gates))
    elsewhere = np.zeros_like(at)
    for axis, (n, p, (low, high)) in enumerate(zip(shape, patch, padding, strict=True)):
        starts = window_starts(n + low + high, p, overlap)
        edges = {edge - low - 1 for start in starts for edge in (start, start + p)}
        for gate in range(len(at)):
            jumps = np.abs(np.diff(alpha[gate], axis=axis))
            largest = jumps.max(axis=tuple(other for other in range(3) if other != axis))
            for index, jump in enumerate(largest):
                side = at if index in edges else elsewhere
                side[gate] = max(side[gate], jump)
    return {
        gate: round(float(a / b), 3) if a > 0 else None
        for gate, a, b in zip(predictor.gates.gates, at, elsewhere, strict=True)
    }


if __name__ == "__main__":
    main()
