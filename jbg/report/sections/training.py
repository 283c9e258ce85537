"""Curves of the training."""

from jbg import plotting
from jbg.report.sections.section import Drawn, Left
from jbg.runs.run import METRICS


def training(left: Left) -> list[Drawn]:
    if not left.run.holds(METRICS):
        return []
    path = left.run.file("figures/training.png")
    caption = (
        "Each metric against the training step; dotted lines separate the stages. nll: mean -ln q of the data; "
        "heldout nll: of data that training did not see, which may rise where a stage trains on energies, as the "
        "data's shares of the states need not be those of equilibrium. kl: the reverse KL up to a constant, so it "
        "may be negative. ess: of the weights of a training batch; eval ess: of fresh samples with the true "
        "energies."
    )
    drawn = plotting.training_curves(left.run.metrics(), path)
    return [Drawn(path, "Training", caption)] if drawn else []
