"""The target of one labelling of identical particles out of the n! that have the same energy."""

import math
from collections.abc import Callable

from jax import Array

from jbg.interfaces import ConfigError, Target
from jbg.targets.target import restrict


def restrict_to_cell(
    target: Target, contains: Callable[[Array], Array], *, n_identical: int
) -> Target:
    """The target inside the fundamental cell of n identical particles: u = inf outside, Z_cell = Z / n!.

    A generated sample outside the cell then has weight zero and counts among the samples. It must
    not be relabelled and kept: the density of a relabelled sample is the sum of q over its n!
    labellings, not q of the one that was drawn, and weights with the latter estimate another Z.
    Averages of what does not depend on labels are those of the whole target.

    Args:
        target: an energy that does not change when the particles are relabelled.
        contains: x ``(dim, *batch)`` -> bool ``(*batch,)``: exactly one of the n! labellings of a
            configuration, up to ties; `coords.cell_test`.
        n_identical: number of the particles.

    Returns:
        Target with ``log_z(tau)`` less ln n!, where ``target`` has one.

    Raises:
        ConfigError: fewer than one particle.
    """
    if n_identical < 1:
        raise ConfigError(f"restrict_to_cell: n_identical must be 1 or more, got {n_identical}")
    inside = restrict(target, contains)
    if target.log_z is None:
        return inside
    whole, log_labellings = target.log_z, math.lgamma(n_identical + 1)
    return Target(
        dim=target.dim,
        reduced_energy=inside.reduced_energy,
        log_z=lambda tau=1.0: whole(tau) - log_labellings,
    )
