"""Every case preprocessed once, kept as plain `.npy` files that are mapped, not loaded.

A patch reads only its own part of the file. The format is open and holds no pickles. A case's files
are named after a hash of its content and of all settings that shape it: whatever changes is made
anew, whatever is the same is shared by folds and runs, and a run that was cut short goes on. The
content is that of image and mask, voxels in a file beside their header included.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnseg.datasets import Case
from attnseg.datasets.case_checks import check_pair, completed
from attnseg.disk import remedied, require_room
from attnseg.errors import FREE_SPACE, DataError, DiskFullError
from attnseg.files import atomic_path, remove_leftovers
from attnseg.images import read_case, read_labels, read_outline
from attnseg.images.identity import Identity, identify, outside
from attnseg.locks import FolderLock
from attnseg.preprocessing import Grid, preprocess, preprocess_labels
from attnseg.spec import ModelSpec

# Voxels remembered per class: enough for every patch of a run to differ.
_VOXELS_PER_CLASS = 2000
# To be raised when the same files and settings would give other arrays.
_VERSION = 2
# A case that another training makes is waited for so long.
_PATIENCE_SECONDS = 1800.0
_RELIEF = "free some space or give another folder with --set data.cache=FOLDER"
_FURTHER = "then --resume: what is done is kept"


@dataclass(frozen=True)
class CachedCase:
    """A preprocessed case on disk.

    Args:
        name: of the case.
        image: `[C, R, A, S]` float32, normalised, on the model's spacing.
        label: `[R, A, S]` int16, class indices, −1 where voxels are to be ignored.
        foreground: `[n, 4]` int32, rows of (class, r, a, s): a sample of labelled voxels.
        present: class indices drawn in this case, the background included; None: all.
        sources: what its images and its mask were, by content.
    """

    name: str
    image: Path
    label: Path
    foreground: Path
    present: tuple[int, ...] | None = None
    sources: tuple[Identity, ...] = ()

    @property
    def there(self) -> bool:
        """Whether it is complete: the foreground is written last; the others may be gone since."""
        return all(path.exists() for path in (self.image, self.label, self.foreground))

    def load(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image and label as memory maps, the foreground sample in memory."""
        return (
            np.load(self.image, mmap_mode="r", allow_pickle=False),
            np.load(self.label, mmap_mode="r", allow_pickle=False),
            np.load(self.foreground, allow_pickle=False),
        )


def cache_cases(
    cases: Sequence[Case],
    spec: ModelSpec,
    folder: Path,
    *,
    ignore_label: int | None = None,
    on_case: Callable[[str], None] = lambda name: None,
) -> list[CachedCase]:
    """Preprocess cases into `folder`, one after another; those that are there stay as they are.

    Trainings that do so at the same time, as folds of one run, share the cases among them.

    Raises:
        RunError: a case that another training makes is not there after half an hour.
        DataError: a case that cannot be read or used, or whose mask does not lie on its image.
        DiskFullError: the disk is full. In both cases what is done is kept.
    """
    if not any(folder.glob("*_foreground.npy")):  # what is there already is not known here
        with remedied(_FURTHER, relief=_RELIEF):
            needed = sum(_bytes_of(case, spec) for case in cases)
            require_room(folder, needed, what=f"{len(cases)} preprocessed cases")
    found: dict[str, CachedCase] = {}

    def make(case: Case) -> None:
        files = found[case.name]
        if not files.there:
            try:
                _preprocess_case(case, spec, files, ignore_label=ignore_label)
            except DiskFullError as error:
                done = sum(each.there for each in found.values())
                raise DiskFullError(
                    f"{folder}: the disk is full after {done} of {len(cases)} cases "
                    f"({error.fault})",
                    _RELIEF if error.relief == FREE_SPACE else error.relief,
                    _FURTHER,
                ) from error
        on_case(case.name)

    with FolderLock(folder, command="attnseg train") as lock:
        others = []  # what other trainings make at this moment is looked at last
        for case in cases:
            files = found[case.name] = _files_of(case, spec, folder, ignore_label)
            if not files.there and lock.claim(files.foreground.name):
                others.append(case)
                continue
            make(case)
            lock.release(files.foreground.name)
        for case in others:
            name = found[case.name].foreground.name
            with lock.turn(name, seconds=_PATIENCE_SECONDS, on_wait=lambda holder: None):
                make(case)
    return [found[case.name] for case in cases]


def _files_of(case: Case, spec: ModelSpec, folder: Path, ignore_label: int | None) -> CachedCase:
    sources = tuple(identify(path) for path in sources_of(case))
    stem = f"{case.name}-{_key(sources, spec, ignore_label)[:16]}"
    return CachedCase(
        case.name,
        image=folder / f"{stem}_image.npy",
        label=folder / f"{stem}_label.npy",
        foreground=folder / f"{stem}_foreground.npy",
        present=_present(case, spec),
        sources=sources,
    )


def _bytes_of(case: Case, spec: ModelSpec) -> int:
    """That the preprocessed case takes on the disk, by its header alone."""
    try:
        outline = read_outline(case.images, num_channels=spec.architecture.in_channels)
        shape = Grid.of(outline.geometry, spec.preprocessing).shape
    except (DataError, OSError):  # reading it says what is wrong
        return 0
    return math.prod(shape) * (4 * spec.architecture.in_channels + 2)


def sources_of(case: Case) -> tuple[Path, ...]:
    """The files of a case: its images, then its mask."""
    return (*case.images, *([case.label] if case.label else []))


def _key(sources: Sequence[Identity], spec: ModelSpec, ignore_label: int | None) -> str:
    """Hash of a case's content and of the settings that decide what becomes of it."""
    settings = {
        "version": _VERSION,
        "sources": [(Path(each.path).name, each.sha256) for each in sources],
        "preprocessing": spec.preprocessing.model_dump(mode="json"),
        "channels": spec.architecture.in_channels,
        "labels": spec.label_values,
        "ignore": ignore_label,
    }
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _present(case: Case, spec: ModelSpec) -> tuple[int, ...] | None:
    if case.labels_present is None:
        return None
    drawn = {0, *case.labels_present}
    return tuple(index for index, value in enumerate(spec.label_values) if value in drawn)


def _preprocess_case(
    case: Case, spec: ModelSpec, files: CachedCase, *, ignore_label: int | None
) -> None:
    assert case.label is not None, case.name
    ignored = () if ignore_label is None else (ignore_label,)
    image = read_case(case.images, num_channels=spec.architecture.in_channels)
    mask = read_labels(case.label, label_values=(*spec.label_values, *ignored))
    mask = completed(mask, image.geometry)
    for finding in check_pair(case.name, image.geometry, mask):
        if finding.stops:  # the data set was checked before, and has changed since
            raise DataError(f"{case.label}: {finding.problem}; {finding.remedy}")
    volume, _ = preprocess(image, spec.preprocessing)
    labels = preprocess_labels(
        mask,
        spec.preprocessing,
        label_values=spec.label_values,
        ignore_label=ignore_label,
    ).numpy()
    if [outside(path) for path in sources_of(case)] != [each.outside for each in files.sources]:
        raise DataError(
            f"{case.images[0]}: image or mask was changed while it was read; --resume once it is "
            "complete"
        )
    _save(files.image, volume.numpy())
    _save(files.label, labels)
    _save(files.foreground, foreground_sample(labels, len(spec.labels), seed=0))


def foreground_sample(labels: np.ndarray, num_classes: int, *, seed: int) -> np.ndarray:
    """`[n, 4]` int32 rows (class, r, a, s): up to 2000 voxels of every class but the background."""
    generator = np.random.default_rng(seed)
    rows = [np.empty((0, 4), dtype=np.int32)]
    for index in range(1, num_classes):
        voxels = np.argwhere(labels == index)
        if len(voxels) > _VOXELS_PER_CLASS:
            voxels = voxels[generator.choice(len(voxels), _VOXELS_PER_CLASS, replace=False)]
        rows.append(np.insert(voxels, 0, index, axis=1).astype(np.int32))
    return np.concatenate(rows)


def _save(path: Path, array: np.ndarray) -> None:
    remove_leftovers(path)
    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)
