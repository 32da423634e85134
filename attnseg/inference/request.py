"""What a command line asks `attnseg predict` for: the models, loaded, and the scans, found."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnseg.errors import UsageError, refuse_options
from attnseg.images import is_picture
from attnseg.inference.display import Display
from attnseg.inference.known import written_by_job
from attnseg.inference.predictor import Predictor, Settings
from attnseg.inference.sources import Scan, find_models, find_scans, refuse_twice
from attnseg.inference.taken import refuse_collisions
from attnseg.inference.work import Job
from attnseg.inference.written import without_results
from attnseg.memory import keep_freed_memory


@dataclass(frozen=True, eq=False)
class Request:
    """What is to be predicted, by which models.

    Args:
        models: the model files.
        predictor: these, loaded.
        scans: of this part of the cohort.
        part: what the manifest of this part is called by, such as "2of8"; "" for a whole cohort.
    """

    models: list[Path]
    predictor: Predictor
    scans: list[Scan]
    part: str


def read_request(
    inputs: Sequence[str | Path],
    *,
    model: Path | Sequence[Path] | None,
    channels: Sequence[str],
    series: str | None,
    shard: str,
    job: Job,
    settings: Settings,
) -> Request:
    """Load the models and find the scans that a command line means.

    Args: see `attnseg.inference.predict.predict`.

    Raises:
        UsageError: an option that has no effect here.
        AttnsegError: nothing to predict, or no usable model.
    """
    if settings.get("max_ram") is None:
        keep_freed_memory()
    if settings.get("backend") == "openvino":
        refuse_options(
            {"--compile": settings.get("compiled")},
            "torch.compile builds PyTorch's network, and --backend openvino has its own; leave one "
            "of them out",
        )
    models = find_models(model)
    predictor = Predictor.load(models, **settings)
    if predictor.device.type == "cpu":
        refuse_options(
            {"--max-vram": settings.get("max_vram") is not None},
            "bounds the memory of a GPU, and this run is on the CPU; use --max-ram",
        )
    if job.attention and not predictor.gates.gates:
        raise UsageError(
            "--save-attention: this network has no gates, and so no α; train one with --gates grid "
            "or skip"
        )
    names = predictor.spec.channel_names
    if channels:
        refuse_options(
            {"--series": series},
            "chooses among DICOM series, and --channels among files; leave it out",
        )
        scans = _by_pattern(inputs, channels, names)
    else:
        scans = find_scans(
            inputs,
            num_channels=len(names),
            series=series,
            channel_names=names,
            say=Display().say,
        )
    scans = without_results(scans, say=Display().say)
    # What suits some of the scans fails the others alone; what suits none is a slip.
    refusals = [job.masks.refusal(scan) for scan in scans if not scan.reason]
    if refusals and all(refusals):
        raise UsageError(refusals[0])
    if all(is_picture(scan.paths[0]) for scan in scans):
        refuse_options(
            {"--statistics": job.statistics},
            "writes volumes in ml, and pictures have none; leave it out",
        )
    mine, part = take_shard(scans, shard)
    if part:  # the other parts write into the same folder, perhaps at this very time
        refuse_collisions(scans, lambda scan: written_by_job(scan, predictor, job))
    return Request(models, predictor, mine, part)


def take_shard(scans: Sequence[Scan], shard: str) -> tuple[list[Scan], str]:
    """The scans of part "i/n", and what its manifest is called by; all of them for "".

    Raises:
        UsageError: not of the form i/n with 1 ≤ i ≤ n.
    """
    if not shard:
        return list(scans), ""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {shard}: must be i/n with i from 1 to n, such as 2/8")
    index, count = int(match[1]), int(match[2])
    return list(scans[index - 1 :: count]), f"{index}of{count}"


def _by_pattern(
    folders: Sequence[str | Path], patterns: Sequence[str], channel_names: Sequence[str]
) -> list[Scan]:
    """Cases of folders, and the table of what was matched on the screen."""
    from attnseg.inference.channels import channel_table, scans_by_pattern

    if len(patterns) != len(channel_names):
        raise UsageError(
            f"{len(patterns)} pattern(s) of --channels where the model has {len(channel_names)} "
            f"channel(s), {', '.join(channel_names)}; give one for each, in this order"
        )
    say = Display().say
    scans = [
        scan for folder in folders for scan in scans_by_pattern(Path(folder), patterns, say=say)
    ]
    refuse_twice(scans)
    say(channel_table(scans, channel_names))
    return scans
