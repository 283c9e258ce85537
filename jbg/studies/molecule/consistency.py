"""What the settings of a molecule's plan must agree with: its options."""

from jbg.interfaces import ConfigError
from jbg.studies.molecule.data_plan import ExchangePlan, HarmonicPlan
from jbg.studies.molecule.plan import MolecularPlan
from jbg.studies.molecule.trajectory_plan import TrajectoryPlan


def check(plan: MolecularPlan) -> None:
    """Check settings that were changed one by one against the options.

    Raises:
        ConfigError: frames of another temperature than the target, or data of another kind than chosen.
    """
    kinds = {"simulated": ExchangePlan, "none": HarmonicPlan}
    chosen = "FILE" if plan.options.trajectories else str(plan.options.data)
    if not isinstance(plan.data, kinds.get(chosen, TrajectoryPlan)):
        raise ConfigError(
            f"config.data is not of the kind that --data {chosen} makes: choose the other --data, or leave data "
            "out"
        )
    if isinstance(plan.data, ExchangePlan):
        lowest = plan.data.exchange.temperatures[0]
        if lowest != plan.options.temperature:
            raise ConfigError(
                f"config.data.exchange.temperatures must begin at the target's {plan.options.temperature:g} K, "
                f"got {lowest:g} K: give --temperature, or leave the lowest as it is"
            )
