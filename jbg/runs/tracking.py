"""Metrics of a training passed on to an experiment tracker, as they are logged anyway.

A tracker is a package of the user's, imported when it is asked for; jbg depends on none.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from jbg.interfaces import ConfigError
from jbg.processes.worker import is_writer
from jbg.runs.extras import missing, optional
from jbg.runs.run import Run

TrackerName = Literal["wandb", "mlflow", "tensorboard"]
PROJECT = "jbg"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracker:
    """Where metrics go.

    log(values, step): numbers by name, at a step that never falls.
    close(): at the end, however the training is left.
    """

    log: Callable[[Mapping[str, float], int], Any]
    close: Callable[[], Any]


def check_tracker(name: TrackerName | None) -> None:
    """Raises ConfigError where the package of a tracker is not installed; it is not imported."""
    if name is not None and missing([name]):
        raise ConfigError(f"--track {name} needs {name}, not installed: pip install {name}")


@contextlib.contextmanager
def tracked(run: Run, name: TrackerName | None) -> Iterator[None]:
    """Inside, metrics of ``run`` go to a tracker too, those that it has already first; None for no tracker.

    Stages follow each other on one axis of steps; "stage/loss" is a metric of a stage. Of several processes the
    first passes them on.

    Args:
        run: whose metrics they are.
        name: of the tracker.

    Raises:
        ConfigError: its package is not installed.
    """
    if name is None or not is_writer():
        yield
        return
    tracker = TRACKERS[name](run)
    pass_on = _OneAxis(tracker)
    try:
        for record in run.metrics():
            pass_on(record)
        run.listeners.append(pass_on)
        yield
    finally:
        run.listeners.clear()
        tracker.close()


class _OneAxis:
    """Passes records on with steps counted over all stages."""

    def __init__(self, tracker: Tracker):
        self.tracker, self.stage, self.offset, self.last = tracker, "", 0, 0

    def __call__(self, record: Mapping[str, Any]) -> None:
        if record["stage"] != self.stage:
            self.stage, self.offset = record["stage"], self.last
        # a stage that is resumed logs steps again that it logged before
        self.last = max(self.last, self.offset + record["step"])
        values = {
            f"{self.stage}/{key}": value
            for key, value in record.items()
            if key not in ("stage", "step") and value is not None
        }
        self.tracker.log(values, self.last)


def _wandb(run: Run) -> Tracker:
    wandb = optional("wandb", "--track wandb")
    session = wandb.init(project=PROJECT, name=run.path.name, config=run.config)
    return Tracker(log=lambda values, step: session.log(values, step=step), close=session.finish)


def _mlflow(run: Run) -> Tracker:
    mlflow = optional("mlflow", "--track mlflow")
    mlflow.set_experiment(PROJECT)
    mlflow.start_run(run_name=run.path.name)
    mlflow.log_dict(run.config, "config.json")
    # names of metrics may not hold "+", as names of stages may
    plain = lambda values: {name.replace("+", "_"): value for name, value in values.items()}
    return Tracker(
        log=lambda values, step: mlflow.log_metrics(plain(values), step=step), close=mlflow.end_run
    )


def _tensorboard(run: Run) -> Tracker:
    summary = optional("tensorboard.summary", "--track tensorboard")
    writer = summary.Writer(str(run.file("tensorboard/events").parent))

    def log(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return Tracker(log=log, close=writer.close)


TRACKERS: dict[str, Callable[[Run], Tracker]] = {
    "wandb": _wandb,
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
}
