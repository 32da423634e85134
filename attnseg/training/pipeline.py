"""Random patches for training: where they lie, how they are read, batches.

Every random draw is a function of the run's seed and the sample's number in the run, never of time,
worker, process or order, so that a run can be repeated, continued and spread over processes.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing import active_children
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from attnseg.config import TrainingConfig
from attnseg.errors import DataError, RunError
from attnseg.spec import ModelSpec
from attnseg.training.augmentation import Augmentation, Crop
from attnseg.training.cache import CachedCase
from attnseg.training.draws import Stream, generator
from attnseg.training.warp import Warp

_CPU = torch.device("cpu")
_Item = TypeVar("_Item")


def make_loader(
    cases: Sequence[CachedCase],
    spec: ModelSpec,
    settings: TrainingConfig,
    *,
    batch_size: int,
    first: int,
    process: int = 0,
    processes: int = 1,
    device: torch.device = _CPU,
) -> Iterator[dict[str, Tensor]]:
    """Endless batches `{"image": [N, C, *patch], "label": [N, 1, *patch], "present": [N, K]}`.

    Images are float32; labels int64 class indices, −1 to ignore; `present` says which of the K
    `spec.labels` were drawn in the case. A 2D model's patches have two axes. On a CUDA device
    patches are read here and changed there, unless they are 2D.

    Args:
        cases: preprocessed training cases.
        spec: patch, spacing, labels.
        settings: seed, augmentation, workers.
        batch_size: samples a step, over all processes; N of them are this process's.
        first: number of the first sample: a resumed run goes on where it stopped.
        process: of `processes`, which together see the samples that one would see alone.
        processes: divides `batch_size`.
        device: where batches are needed.

    Raises:
        DataError: while iterating: a case that cannot be read or augmented.
        RunError: while iterating: a worker that died.
    """
    assert batch_size % processes == 0, (batch_size, processes)
    # albumentations works on the CPU: 2D patches are finished before they go to the device.
    on_device = device.type != "cpu" and spec.slice_axis is None
    data = PatchDataset(cases, spec, settings, raw=on_device)
    loader = DataLoader(
        data,
        batch_sampler=_Endless(first, batch_size, process, processes),
        num_workers=settings.workers,
        collate_fn=_collate,
        worker_init_fn=_leave_group,
    )
    batches = _received(loader)
    if device.type == "cpu":
        # No thread beside the step: it would take the step's own cores. Measured on two,
        # hippocampus patches cost 2.1 % of a loop made in line, 2.5 % made ahead.
        return batches
    return ahead(to_device(batches, data, device))


class PatchDataset(Dataset):
    """Sample number → augmented patch; what goes wrong is returned, a `DataError` naming the case.

    Cases come in a new random order each round; `foreground_fraction` of the patches are centred on
    a voxel of a random class that the case has, the others anywhere.

    Args:
        cases: preprocessed training cases.
        spec: patch, spacing, labels.
        settings: seed, augmentation, share of foreground.
        raw: return crops, which `finish` augments elsewhere.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        spec: ModelSpec,
        settings: TrainingConfig,
        *,
        raw: bool = False,
    ) -> None:
        self.cases = list(cases)
        self.spec = spec
        self.settings = settings
        self.raw = raw
        self.augment = Augmentation(settings.augmentation, spec, seed=settings.seed)

    def __getitem__(self, number: int) -> dict[str, Tensor] | Crop | DataError:
        try:
            crop = self.crop(number)
            return crop if self.raw else self.finish(crop)
        except DataError as error:
            return error

    def finish(self, crop: Crop) -> dict[str, Tensor]:
        """The augmented patch, on the device of the crop.

        Raises:
            DataError: what went wrong, and with which case.
        """
        with _naming(self._case(crop.number)):
            return self.augment(crop)

    def crop(self, number: int) -> Crop:
        """Draw where sample `number` lies and read what it is made from.

        Raises:
            DataError: a case whose files cannot be read.
        """
        case = self._case(number)
        with _naming(case):
            image, label, foreground = case.load()
            centre = self._centre(number, label.shape, foreground)
            present = torch.ones(len(self.spec.labels), dtype=torch.bool)
            if case.present is not None:
                present = torch.zeros_like(present).index_fill(0, torch.tensor(case.present), True)
            patch = self.spec.patch
            warp = self.augment.draw_warp(number)
            if warp is None:
                image, label = (crop_around(v, centre, patch) for v in (image, label[None]))
                middle: tuple[float, ...] = ()
            else:
                box, middle = _box(warp, centre, label.shape)
                image, label = image[:, *box].copy(), label[None, *box].copy()
            return Crop(
                number, torch.from_numpy(image), torch.from_numpy(label), present, warp, middle
            )

    def _case(self, number: int) -> CachedCase:
        round_, place = divmod(number, len(self.cases))
        order = generator(self.settings.seed, Stream.ORDER, round_).permutation(len(self.cases))
        return self.cases[order[place]]

    def _centre(
        self, number: int, shape: tuple[int, ...], foreground: np.ndarray
    ) -> tuple[int, ...]:
        draws = generator(self.settings.seed, Stream.PLACE, number)
        if draws.random() < self.settings.foreground_fraction and len(foreground):
            classes = np.unique(foreground[:, 0])
            rows = foreground[foreground[:, 0] == draws.choice(classes)]
            centre = rows[draws.integers(len(rows)), 1:]
        else:
            centre = draws.integers(shape)
        # Keep the patch inside where it fits, centred where the volume is smaller.
        low = [min(p // 2, n // 2) for p, n in zip(self.spec.patch, shape, strict=True)]
        high = [max(n - p + p // 2, n // 2) for p, n in zip(self.spec.patch, shape, strict=True)]
        return tuple(int(c) for c in np.clip(centre, low, high))


def crop_around(volume: np.ndarray, centre: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    """`[C, *size]` around `centre`, zeros beyond the volume; reads only that part of a map."""
    result = np.zeros((volume.shape[0], *size), dtype=volume.dtype)
    source, target = [slice(None)], [slice(None)]
    for middle, extent, n in zip(centre, size, volume.shape[1:], strict=True):
        start = middle - extent // 2
        low, high = max(start, 0), min(start + extent, n)
        source.append(slice(low, high))
        target.append(slice(low - start, high - start))
    result[tuple(target)] = volume[tuple(source)]
    return result


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items, each made in a thread while the one before it is in use.

    Closing the iterator waits for the item under way and ends the thread; a stop does not wait.
    """
    pool, wait = ThreadPoolExecutor(1, thread_name_prefix="patches"), True
    try:
        item = pool.submit(next, items)
        while True:
            ready = item.result()
            item = pool.submit(next, items)
            yield ready
    except KeyboardInterrupt:
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


def _box(
    warp: Warp, centre: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[float, ...]]:
    """The part of a volume that a warped patch looks at, and the patch's middle in it."""
    middle = np.array(centre) - np.array(warp.patch) // 2 + (np.array(warp.patch) - 1) / 2
    low = np.clip(np.floor(middle - warp.reach()), 0, np.array(shape) - 1).astype(int)
    high = np.clip(np.ceil(middle + warp.reach()) + 1, low + 1, shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    return box, tuple((middle - low).tolist())


def to_device(
    batches: Iterator[Any], data: PatchDataset, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """Batches on `device`; crops are augmented there."""
    for batch in batches:
        if isinstance(batch, list):
            batch = default_collate([data.finish(crop.to(device)) for crop in batch])
        yield {name: values.to(device, non_blocking=True) for name, values in batch.items()}


def _leave_group(worker: int) -> None:
    """A signal for all processes of a command, as of `timeout` and Slurm, ends no worker: the step
    at hand needs none, and the training that is asked to stop ends them."""
    if hasattr(os, "setpgid"):
        with suppress(OSError):
            os.setpgid(0, 0)


def _received(loader: DataLoader) -> Iterator[Any]:
    others = set(active_children())
    with _as_it_was("SIGCHLD"):
        batches = iter(loader)
    workers = set(active_children()) - others
    try:
        while True:
            batch = next(batches)
            if isinstance(batch, DataError):
                raise batch
            yield batch
    except RuntimeError as error:
        if loader.num_workers == 0:
            raise
        # Errors of samples come as values: this is a worker that was killed.
        raise RunError(
            f"a loader process ended ({str(error).splitlines()[0]}); lower --set "
            f"training.workers (now {loader.num_workers}), memory may be short"
        ) from error
    except KeyboardInterrupt:
        for worker in workers:  # one that is stuck would be waited for
            worker.kill()
        raise
    finally:
        # Now, not with the garbage of the exception: the workers would take five seconds to end.
        del batches


@contextmanager
def _as_it_was(name: str) -> Iterator[None]:
    """The block leaves the handler of a signal, if the system has such, as it was.

    PyTorch would tell of a worker that ended in the midst of a step. The next batch tells it, too.
    """
    kind = getattr(signal, name, None)
    if kind is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = signal.getsignal(kind)
    try:
        yield
    finally:
        signal.signal(kind, kept)


def _collate(samples: list[Any]) -> Any:
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
    return samples if isinstance(samples[0], Crop) else default_collate(samples)


@contextmanager
def _naming(case: CachedCase) -> Iterator[None]:
    """Whatever goes wrong becomes a `DataError` with the case in it."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{case.image}: no patch can be made of it ({type(error).__name__}: {error}); remove "
            "the file and its neighbours of the same name, then --resume: they are made anew"
        ) from error


class _Endless(Sampler):
    """Sample numbers of one process, batch by batch, without end."""

    def __init__(self, first: int, batch_size: int, process: int, processes: int) -> None:
        self.first = first
        self.batch_size = batch_size
        self.places = range(process, batch_size, processes)

    def __iter__(self) -> Iterator[list[int]]:
        for start in count(self.first, self.batch_size):
            yield [start + place for place in self.places]
