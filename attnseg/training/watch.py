"""What happens beside the steps: validation, metrics, panels, checkpoints."""

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from attnseg.config import Config
from attnseg.datasets import Case, Dataset
from attnseg.inference import Predictor
from attnseg.models import save_model
from attnseg.signals import StopRequest
from attnseg.spec import ModelSpec
from attnseg.training.engine import Engine
from attnseg.training.loop import Report
from attnseg.training.run import Run
from attnseg.training.state import TrainingState
from attnseg.training.tensorboard import Board
from attnseg.training.validation import peek

# Epochs may be long: a kill costs at most one of them, or this many seconds.
_SAVE_EVERY = 600.0


class Watch:
    """Called by the loop; acts at the end of each epoch, and saves every ten minutes.

    Args:
        state: of the run; saved, and its average validated.
        spec: of the model.
        config: how often to validate, and when to give up.
        run: where metrics and checkpoints go.
        board: where curves and pictures go.
        dataset: tells how masks are to be read.
        held_out: cases of which the first few are predicted now and then.
        stop: a validation is left in its midst when a stop is requested.
        show: the live line.
        say: a line that stays.
        engine: device and loss scale.
    """

    def __init__(
        self,
        state: TrainingState,
        spec: ModelSpec,
        config: Config,
        run: Run,
        board: Board,
        dataset: Dataset,
        held_out: Sequence[Case],
        stop: StopRequest,
        *,
        show: Callable[[Report, float], None],
        say: Callable[[str], None],
        engine: Engine,
    ) -> None:
        self.state, self.spec, self.config, self.run = state, spec, config, run
        self.board, self.dataset, self.stop = board, dataset, stop
        self.show, self.say, self.engine = show, say, engine
        self.settings = config.training
        self.cases = held_out[: config.training.validation_cases]
        self.saved = state.seconds
        self.dice = float("nan")

    def __call__(self, report: Report) -> bool:
        """Returns whether patience is exhausted."""
        if report.epoch_done:
            self._end_epoch(report)
        elif self.state.seconds - self.saved >= _SAVE_EVERY:
            self._save()
        self.show(report, self.dice)
        patience = self.settings.patience
        return patience is not None and self.state.stale >= patience

    def _end_epoch(self, report: Report) -> None:
        line: dict[str, Any] = {
            "step": report.step,
            "epoch": report.epoch,
            "minutes": round(self.state.seconds / 60, 3),
            "loss": round(report.loss, 5),
            "learning_rate": report.learning_rate,
            "gradient_norm": round(report.gradient_norm, 4),
            "samples_per_second": round(report.samples_per_second, 3),
        }
        due = report.epoch % self.settings.validation_every_epochs == 0 or report.progress >= 1
        if self.cases and due and not self.stop.requested:
            self._save()  # whatever becomes of the validation
            with suppress(KeyboardInterrupt), self.stop.at_once():
                line |= self._validate(report.step)
        scalars = {k: v for k, v in line.items() if isinstance(v, float) and v == v}
        self.board.scalars(scalars, step=report.step)
        self.run.append_metrics(line)
        self._save()

    def _save(self) -> None:
        self.saved = self.state.seconds
        self.state.loss_scale = self.engine.loss_scale
        self.state.save(self.run.checkpoint)

    def _validate(self, step: int) -> dict[str, Any]:
        from attnseg.visualization import figure_to_array, overlay_figure

        # A copy: a predictor lays its weights out for itself.
        predictor = Predictor(
            copy.deepcopy(self.state.average),
            self.spec,
            device=str(self.engine.device),
            overlap=self.config.inference.overlap,
            backend="torch",  # weights of a moment are not worth compiling
        )
        seen = peek(predictor, self.cases, self.dataset)
        names = self.spec.output_names
        for name, reason in seen.failed.items():
            self.say(f"warning: validation: {name} has no score: {reason}")
        if (shown := seen.example) is not None:
            figure = overlay_figure(
                shown.image,
                shown.labels,
                names=names,
                reference=shown.reference,
                attention=shown.attention,
            )
            self.board.panel("validation", figure_to_array(figure), step=step)
        if len(seen.failed) == len(self.cases):
            return {"failed": dict(seen.failed)}  # no score at all: neither better nor worse
        self.dice = seen.mean_dice
        if self.dice > self.state.best:
            self.state.best, self.state.stale = self.dice, 0
            save_model(self.run.best, self.state.average, self.spec)
        else:
            self.state.stale += 1
        each = {f"dice/{names[value]}": round(dice, 4) for value, dice in seen.dice.items()}
        failed = {"failed": dict(seen.failed)} if seen.failed else {}
        return {"dice": round(self.dice, 4), **each, **failed}
