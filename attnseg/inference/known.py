"""Which scans of a cohort are done already, and which are to be predicted, and why again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from attnseg.errors import UsageError
from attnseg.images import is_picture, location
from attnseg.inference.attention import attention_names
from attnseg.inference.identity import identity_of
from attnseg.inference.masks import MaskFormat
from attnseg.inference.predictor import Predictor
from attnseg.inference.sources import Scan
from attnseg.inference.taken import Found, Line, find_written, misfit, refuse_taken
from attnseg.inference.work import Job
from attnseg.names import composed, resolved


@dataclass(frozen=True)
class Wanted:
    """What must hold of a mask that is kept.

    Args:
        folder: where it lies.
        model: id of the model that made it.
        settings: what changes the labels.
        masks: how masks are written.
        overwrite: keep none.
    """

    folder: Path
    model: str
    settings: Mapping[str, Any]
    masks: MaskFormat
    overwrite: bool


@dataclass(frozen=True)
class Known:
    """Which scans of a cohort are done.

    Args:
        done: their masks are there, and were made of them.
        todo: to be predicted; their notes say why, where something of theirs lies there.
        renewed: new lines of scans that are done and were touched or moved since.
        unrecorded: how many are done by lines that do not say which scan they are of.
        outdated: scan → what was made of it before it changed.
        there: files and folders of all of these scans that lie there, in NFC.
    """

    done: tuple[Scan, ...]
    todo: tuple[Scan, ...]
    renewed: tuple[Line, ...] = ()
    unrecorded: int = 0
    outdated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    there: frozenset[str] = frozenset()


def known_scans(
    scans: Sequence[Scan],
    predictor: Predictor,
    output: Path,
    *,
    model_id: str,
    job: Job,
    overwrite: bool = False,
    replace_others: bool = False,
    verify: bool = False,
    lines: Mapping[str, Line] | None = None,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> Known:
    """Which of the scans are done in `output` by this model in this way.

    Args:
        scans: to be predicted.
        predictor: the loaded model.
        output: folder of masks and manifests; perhaps not there yet.
        model_id: what the manifest calls the model.
        job: what is done with each scan.
        overwrite: none counts as done.
        replace_others: let what was made of other scans be replaced.
        verify: look at every byte of every scan.
        lines: file → the line that says it was written; None: those of the folder's manifests.
        on_scan: called with every scan that was compared with what lies there.

    Raises:
        UsageError: a mask would overwrite a scan, or what was made of another scan; two scans that
            would be written to one file.
    """
    _check_targets(scans, output, job.masks)
    scans = [replace(scan, reason=scan.reason or job.masks.refusal(scan)) for scan in scans]
    found = find_written(
        scans,
        output,
        lambda scan: written_by_job(scan, predictor, job),
        geometry_of=lambda scan: predictor.outline(*scan.paths).geometry,
        masks=job.masks,
        verify=verify,
        lines=lines,
        on_scan=on_scan,
    )
    if not replace_others:
        refuse_taken(list(found.values()), output, overwrite=overwrite)
    wanted = Wanted(output, model_id, settings_of(predictor), job.masks, overwrite)
    done: list[Scan] = []
    todo: list[Scan] = []
    renewed: list[Line] = []
    unrecorded = 0
    for scan in scans:
        its = found.get(scan.name)
        notes = _why_again(its, written_by_job(scan, predictor, job), wanted) if its else ()
        if its is None or notes is not None:
            reason = scan.reason or (its.error if its else "")
            todo.append(replace(scan, notes=(*scan.notes, *(notes or ())), reason=reason))
            continue
        done.append(scan)
        renewed += _renewed(its)
        unrecorded += bool(its.unknown)
    outdated = {name: tuple(each.changed) for name, each in found.items() if each.changed}
    there = frozenset(path for each in found.values() for path in each.paths)
    return Known(tuple(done), tuple(todo), tuple(renewed), unrecorded, outdated, there)


def is_done(
    scan: Scan,
    predictor: Predictor,
    output: Path,
    *,
    model_id: str,
    job: Job,
    lines: Mapping[str, Line],
) -> bool:
    """Whether a scan is done in `output` by this model in this way, by certain lines alone.

    Args:
        scan: that was to be predicted.
        predictor: the loaded model.
        output: folder of masks and manifests.
        model_id: what the manifest calls the model.
        job: what is done with each scan.
        lines: file → the line that says it was written.
    """
    found = find_written(
        [scan],
        output,
        lambda scan: written_by_job(scan, predictor, job),
        geometry_of=lambda scan: predictor.outline(*scan.paths).geometry,
        masks=job.masks,
        lines=lines,
    ).get(scan.name)
    wanted = Wanted(output, model_id, settings_of(predictor), job.masks, overwrite=False)
    written = written_by_job(scan, predictor, job)
    return found is not None and _why_again(found, written, wanted) is None


def written_by_job(scan: Scan, predictor: Predictor, job: Job) -> list[str]:
    """What will be written of a scan, relative to the output folder; its mask first."""
    names = [job.masks.target(scan)]
    if job.probabilities:
        names.append(probabilities_of(scan))
    if job.attention and predictor.gates.gates:
        picture = is_picture(scan.paths[0])
        names += attention_names(scan.name, predictor.gates.gates, picture=picture)
    return names


def kept_unrecorded(count: int) -> str:
    """What is said of masks whose lines are older than the rule that lines name their scan."""
    return (
        f"{count} mask(s) of an older manifest were kept because they lie on their scans' grids; "
        "which scans they were made of was not recorded (--overwrite predicts them again)"
    )


def settings_of(predictor: Predictor) -> dict[str, Any]:
    """What changes the labels, as a line of the manifest keeps it."""
    return {"overlap": predictor.overlap, "mirror": predictor.mirror_axes}


def probabilities_of(scan: Scan) -> str:
    """File name of its probabilities."""
    return f"{scan.name}_probabilities.nii.gz"


def _why_again(found: Found, files: Sequence[str], wanted: Wanted) -> tuple[str, ...] | None:
    """What is to be said of a scan that is predicted again; None where it is done."""
    written = [composed(path) for path in files]
    if found.error:
        return ()
    if not wanted.overwrite and all(_made(path, found, wanted) for path in written):
        wrong = [
            why
            for path in written
            if path in found.same
            and (why := misfit(found, wanted.folder, path, found.same[path].geometry, wanted.masks))
        ]
        return (
            (f"what lay in its place was not its mask ({wrong[0]}): made anew",) if wrong else None
        )
    notes = []
    if again := [path for path in written if path in found.changed]:
        notes.append(f"the scan has changed since {', '.join(again)} was made of it: made anew")
    notes += [
        f"{why or f'no manifest says which scan {path} was made of'}: made anew"
        for path, why in found.unknown.items()
    ]
    if left := [path for path in found.changed if path not in written]:
        notes.append(f"{', '.join(left)} was made of it before it changed: remove it")
    return tuple(notes)


def _made(path: str, found: Found, wanted: Wanted) -> bool:
    """Whether what lies there is of this scan, made by the same model in the same way."""
    line = found.lines.get(path)
    return (
        line is not None
        and (path in found.same or found.unknown.get(path) == "")
        and line.get("model") == wanted.model
        and line.get("settings") == wanted.settings
    )


def _renewed(found: Found) -> list[Line]:
    """Lines with the identity that the scan has now, where that is another than they say."""
    lines = {
        id(line): {**line, "scan": asdict(found.same[path])}
        for path, line in found.lines.items()
        if path in found.same and found.same[path] != identity_of(line)
    }
    return list(lines.values())


def _check_targets(scans: Sequence[Scan], output: Path, masks: MaskFormat) -> None:
    targets = {scan.name: output / masks.target(scan) for scan in scans}
    assert len(targets) == len(scans), "names differ, as find_scans sees to"
    sources = {resolved(location(path)) for scan in scans for path in scan.paths}
    sources |= {folder for source in sources for folder in source.parents if masks.per_label}
    clash = [path for path in targets.values() if resolved(path) in sources]
    if clash:
        raise UsageError(
            f"{clash[0]}: this mask would overwrite its scan; give another folder with -o"
        )
