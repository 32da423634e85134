"""What happens beside the steps: validation, metrics, panels, checkpoints."""

from collections.abc import Sequence
from typing import Any

import torch

from attnseg.config import Config
from attnseg.datasets import Case
from attnseg.inference import Predictor
from attnseg.spec import ModelSpec
from attnseg.training.loop import Report
from attnseg.training.run import Run
from attnseg.training.signals import StopRequest
from attnseg.training.state import TrainingState
from attnseg.training.tensorboard import Board
from attnseg.training.validation import peek


class Watch:
    """Called after each step; acts at the end of each epoch.

    Args:
        state: of the run; saved, and its average validated.
        spec: of the model.
        config: of the experiment.
        run: where metrics and checkpoints go.
        board: where curves and pictures go.
        held_out: cases of which the first few are predicted now and then.
        device: where the network lives.
        stop: a requested stop is not kept waiting by a validation.
    """

    def __init__(
        self,
        state: TrainingState,
        spec: ModelSpec,
        config: Config,
        run: Run,
        board: Board,
        held_out: Sequence[Case],
        device: torch.device,
        stop: StopRequest,
    ) -> None:
        self.state, self.run, self.board, self.stop = state, run, board, stop
        self.every = 60 * config.training.validation_every_minutes
        self.cases = held_out[: config.training.validation_cases]
        self.predictor = Predictor(
            state.average, spec, device=str(device), overlap=config.inference.overlap
        )
        self.names = {label.value: label.name for label in spec.labels}
        self.last = state.seconds
        self.dice = float("nan")

    def __call__(self, report: Report) -> float:
        """Called after each step; returns the latest validation Dice."""
        if not report.epoch_done:
            return self.dice
        line: dict[str, Any] = {
            "step": report.step,
            "epoch": report.epoch,
            "minutes": round(self.state.seconds / 60, 3),
            "loss": round(report.loss, 5),
            "learning_rate": report.learning_rate,
            "gradient_norm": round(report.gradient_norm, 4),
            "samples_per_second": round(report.samples_per_second, 3),
        }
        due = self.state.seconds - self.last >= self.every or report.progress >= 1
        if self.cases and due and not self.stop.requested:
            self.last = self.state.seconds
            line |= self._validate(report.step)
        scalars = {k: v for k, v in line.items() if isinstance(v, float) and v == v}
        self.board.scalars(scalars, step=report.step)
        self.run.append_metrics(line)
        self.state.save(self.run.checkpoint)
        return self.dice

    def _validate(self, step: int) -> dict[str, Any]:
        from attnseg.visualization import figure_to_array, overlay_figure

        seen = peek(self.predictor, self.cases)
        self.dice = seen.mean_dice
        figure = overlay_figure(seen.image, seen.labels, names=self.names, reference=seen.reference)
        self.board.panel("validation", figure_to_array(figure), step=step)
        each = {f"dice/{self.names[value]}": round(dice, 4) for value, dice in seen.dice.items()}
        return {"dice": round(self.dice, 4), **each}
