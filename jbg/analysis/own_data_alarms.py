"""Alarms about trajectories of the user that a study learnt from."""

from collections.abc import Mapping
from typing import Any

MANY_LEFT_OUT = 0.05  # of the frames
FEW_EFFECTIVE = 300.0  # effective frames of a biased simulation


def own_data_alarms(own_data: Mapping[str, Any]) -> list[str]:
    """Alarms about trajectories of the user: another target, many frames left out, weights that rest on few.

    Args:
        own_data: the entry of results.json; empty where there is none.
    """
    found = [
        f"the frames are not of the target: {reason}" for reason in own_data.get("reasons", [])
    ]
    if own_data and own_data["left_out"] > MANY_LEFT_OUT * own_data["n_frames"]:
        found.append(
            f"{own_data['left_out']} of {own_data['n_frames']} frames of the data are broken and left out"
        )
    effective = own_data.get("effective")
    if effective is not None and effective < FEW_EFFECTIVE:
        found.append(
            f"the weights of the data hold {effective:.0f} effective frames of {own_data['frames']}: "
            "longer or better biased simulations are needed"
        )
    return found
