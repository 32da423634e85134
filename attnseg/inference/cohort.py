"""Many scans with one loaded model: a failed scan never stops the others."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from attnseg.errors import AttnsegError, UsageError
from attnseg.images import write_labels
from attnseg.inference.predictor import Predictor
from attnseg.inference.sources import Scan

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Outcome:
    """One line of the manifest."""

    name: str
    state: str
    """"done", "failed" or "skipped" (done before with the same model)."""
    reason: str = ""
    mask: str = ""
    seconds_reading: float = 0.0
    seconds_predicting: float = 0.0
    seconds_writing: float = 0.0
    model: str = ""


def predict_cohort(
    scans: Sequence[Scan],
    predictor: Predictor,
    output: Path,
    *,
    model_id: str,
    overwrite: bool = False,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Predict scans into `output`, one mask each, and keep the manifest.

    The mask of a picture is `NAME.png`, any other's `NAME.nii.gz`. Scans that the manifest calls
    done with the same model are skipped unless `overwrite`.

    Raises:
        UsageError: a mask would overwrite a scan.
    """
    targets = {scan.name: output / scan.mask_name for scan in scans}
    assert len(targets) == len(scans), "names differ, as find_scans sees to"
    sources = {path.resolve() for scan in scans for path in scan.paths}
    clash = [path for path in targets.values() if path.resolve() in sources]
    if clash:
        raise UsageError(
            f"{clash[0]}: this mask would overwrite its scan; give another folder with -o"
        )
    output.mkdir(parents=True, exist_ok=True)
    finished = _finished(output / MANIFEST, model_id)
    outcomes = []
    for scan in scans:
        target = targets[scan.name]
        if scan.name in finished and target.exists() and not overwrite:
            outcome = Outcome(scan.name, "skipped", mask=target.name, model=model_id)
        else:
            outcome = _predict_one(scan, predictor, target, model_id)
            with (output / MANIFEST).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(outcome)) + "\n")
        outcomes.append(outcome)
        on_outcome(outcome)
    return outcomes


def _predict_one(scan: Scan, predictor: Predictor, target: Path, model_id: str) -> Outcome:
    begin = time.perf_counter()
    try:
        image = predictor.read(*scan.paths)
        read = time.perf_counter()
        segmentation = predictor.predict(image)
        predicted = time.perf_counter()
        write_labels(target, segmentation.labels, like=image, dtype=predictor.label_type)
    except (AttnsegError, OSError, MemoryError) as error:
        return Outcome(scan.name, "failed", reason=str(error) or repr(error), model=model_id)
    return Outcome(
        scan.name,
        "done",
        mask=target.name,
        seconds_reading=round(read - begin, 3),
        seconds_predicting=round(predicted - read, 3),
        seconds_writing=round(time.perf_counter() - predicted, 3),
        model=model_id,
    )


def _finished(manifest: Path, model_id: str) -> set[str]:
    """Names whose last line says done with this model."""
    last = {line["name"]: line for line in _lines(manifest)}
    return {
        name
        for name, line in last.items()
        if line.get("state") == "done" and line.get("model") == model_id
    }


def _lines(manifest: Path) -> Iterator[dict]:
    if not manifest.exists():
        return
    for text in manifest.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue  # the line that a kill cut short; its scan is simply done again
        if isinstance(line, dict) and "name" in line:
            yield line
