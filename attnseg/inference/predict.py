"""`attnseg predict`: scans in, masks out, one line a scan."""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from attnseg.errors import UsageError
from attnseg.files import write_text
from attnseg.inference.cohort import Job, Work, plan_cohort, predict_cohort
from attnseg.inference.display import Display, named
from attnseg.inference.manifest import Manifest, Outcome
from attnseg.inference.predictor import Predictor, Settings
from attnseg.inference.sources import Scan, find_models, find_scans
from attnseg.memory import keep_freed_memory, return_freed_memory
from attnseg.models import model_id
from attnseg.signals import stop_on_signals

STATISTICS = "statistics.csv"


def predict(
    inputs: Sequence[str | Path],
    output: Path,
    *,
    model: Path | Sequence[Path] | None = None,
    overwrite: bool = False,
    shard: str = "",
    job: Job | None = None,
    **settings: Unpack[Settings],
) -> list[Outcome]:
    """Predict files, folders and globs, print progress, and return what became of each scan.

    Args:
        inputs: as typed by the user.
        output: folder for masks and manifest.
        model: model files or run folders, which are averaged, the folds of a run as well; None
            takes the newest finished run under `runs/`.
        overwrite: predict again what is done already.
        shard: "i/n": only every n-th scan, from the i-th on, counted from 1.
        job: what to do beside the masks.
        settings: of the `Predictor`.

    Raises:
        AttnsegError: nothing to predict, or no usable model; a single bad scan does not raise.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; files are left whole.
    """
    models, predictor, scans, part = _ready(inputs, model, shard, settings)
    display = Display()
    display.say(
        f"{named(models)} · {predictor.device}{' · mirrored' if predictor.mirror_axes else ''} · "
        f"{len(scans)} scan(s){f', part {shard}' if shard else ''} → {output}/"
    )
    job = job or Job()
    with stop_on_signals() as stop, display.progress(len(scans)) as bars:

        def on_window(scan: Scan) -> None:
            if stop.requested:
                raise KeyboardInterrupt
            bars.window(scan)

        def on_plan(work: Sequence[Work]) -> None:
            bars.plan(work)
            if work:
                display.say(f"back end: {predictor.backend}")

        outcomes = predict_cohort(
            scans,
            predictor,
            output,
            model_id=models_id(models),
            overwrite=overwrite,
            shard=part,
            job=replace(job, on_window=on_window),
            on_plan=on_plan,
            on_outcome=bars.outcome,
        )
    manifest = Manifest(output, shard=part)
    if job.statistics:
        write_text(output / STATISTICS, _statistics(manifest.last_lines().values()))
    display.summary(outcomes, manifest.path)
    return outcomes


def dry_run(
    inputs: Sequence[str | Path],
    *,
    model: Path | Sequence[Path] | None = None,
    shard: str = "",
    job: Job | None = None,
    **settings: Unpack[Settings],
) -> list[Work]:
    """Tell what `predict` would do with each scan, from the headers and a window of zeros.

    Args and errors: as of `predict`.
    """
    models, predictor, scans, _ = _ready(inputs, model, shard, settings)
    probabilities = (job or Job()).probabilities
    plan_cohort(scans, predictor, probabilities=probabilities)  # settles the back end
    seconds = predictor.measure()
    work = plan_cohort(scans, predictor, probabilities=probabilities)
    display = Display()
    display.say(f"{named(models)} · {predictor.device} · {predictor.backend} · nothing is written")
    display.dry_run(work, seconds_per_window=seconds)
    return work


def models_id(models: Sequence[Path]) -> str:
    """Which models made a mask: the id of one, the SHA-256 of the sorted ids of several."""
    ids = sorted(model_id(path) for path in models)
    return ids[0] if len(ids) == 1 else hashlib.sha256("\n".join(ids).encode()).hexdigest()


def take_shard(scans: Sequence[Scan], shard: str) -> tuple[list[Scan], str]:
    """The scans of part "i/n", and what its manifest is called by; all of them for "".

    Raises:
        UsageError: not of the form i/n with 1 ≤ i ≤ n.
    """
    if not shard:
        return list(scans), ""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {shard}: must be i/n with i from 1 to n, such as 2/8")
    index, count = int(match[1]), int(match[2])
    return list(scans[index - 1 :: count]), f"{index}of{count}"


def _ready(
    inputs: Sequence[str | Path],
    model: Path | Sequence[Path] | None,
    shard: str,
    settings: Settings,
) -> tuple[list[Path], Predictor, list[Scan], str]:
    if settings.get("max_ram") is None:
        keep_freed_memory()
    else:
        return_freed_memory()
    models = find_models(model)
    predictor = Predictor.load(models, **settings)
    scans = find_scans(inputs, num_channels=predictor.spec.architecture.in_channels)
    return models, predictor, *take_shard(scans, shard)


def _statistics(lines: Iterable[dict]) -> str:
    """A table of volumes: one row a scan and label."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("scan", "label", "volume_ml"))
    for line in sorted(lines, key=lambda line: str(line["name"])):
        if line.get("state") == "done":
            table.writerows((line["name"], *each) for each in line.get("volumes_ml", {}).items())
    return text.getvalue()
