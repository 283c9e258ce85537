"""Curves of the training."""

from jbg import plotting
from jbg.report.sections.section import Drawn, Left
from jbg.runs.run import METRICS


def training(left: Left) -> list[Drawn]:
    if not left.run.holds(METRICS):
        return []
    path = left.run.file("figures/training.png")
    caption = "Each metric against the training step; dotted lines separate the stages."
    drawn = plotting.training_curves(left.run.metrics(), path)
    return [Drawn(path, "Training", caption)] if drawn else []
