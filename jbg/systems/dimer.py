"""A bistable dimer in a bath of soft discs, in two dimensions and in kT (Noé et al. 2019, Fig. 3).

    U = U_centre + U_dimer(d) + U_repulsion + U_wall,  d the distance of particles 0 and 1

    U_centre    = 20 (x0 + x1)^2 + 20 y0^2 + 20 y1^2
    U_repulsion = sum over pairs (sigma / r)^12, each pair once, the dimer's own left out; sigma = 1.1
    U_wall      = wall (|x| - 3)^2 outside of [-3, 3], for each coordinate

Paper and code disagree on U_dimer and on the wall; see `DIMER_TERMS` and `lj_dimer`. Coordinates are interleaved,
x0 y0 x1 y1 ...; the energy is one and the same in simulation, training and weights. Its gradient is
for reverse mode only.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import minimize

from jbg.interfaces import CollectiveVariable, ConfigError, SignedPermutations, State, System
from jbg.systems.soft_discs import soft_discs, soft_discs_in_numpy

CENTRE_CONSTANT = 20.0
HALF_WIDTH = 3.0
D_SPLIT = 1.5

# (linear, quadratic, quartic) coefficients of U_dimer in d - 1.5
DIMER_TERMS: dict[str, tuple[float, float, float]] = {
    # the stored runs of the 2019 code, slope +2: closed is favoured
    "tilted": (4.0, -100.0, 160.0),
    # that code's default slope, -1/2: open is favoured
    "default": (-1.0, -100.0, 160.0),
    # a/4 + c, -b/2 as the supplement prints them: a barrier of 1 kT
    "printed": (0.0, -5.0, 5.75),
    # the supplement with a linear last term, as Hsu and Fobe 2020 read it
    "hsu-fobe": (-0.5, -5.0, 6.25),
}


def dimer_distance(x: Any) -> Any:
    """d ``(*batch,)`` of configurations ``(dim, *batch)``; numpy and JAX arrays alike."""
    xp = x.__array_namespace__()
    squared = (x[0] - x[2]) ** 2 + (x[1] - x[3]) ** 2
    # the root has no gradient at zero
    return xp.where(squared > 0, xp.sqrt(xp.where(squared > 0, squared, 1.0)), 0.0)


def lj_dimer(
    *, n_solvent: int = 36, dimer: str = "tilted", wall: float = 200.0, relax: bool = True
) -> System:
    """The dimer and ``n_solvent`` discs in the box [-3, 3]^2; dim = 2 (n_solvent + 2).

    Args:
        n_solvent: 0 or more. 36 is the published bath; the box does not grow.
        dimer: key of ``DIMER_TERMS``. Stored runs and figures of 2019 use "tilted".
        wall: constant of U_wall. 200 is what the sampled energy of the 2019 code amounts to, 100 what it states.
        relax: minimise the energy of ``start``; the bare lattice lies thousands of kT up.

    Returns:
        System with ``start`` a closed and an open configuration, states ``closed`` and ``open`` split at d = 1.5.

    Raises:
        ConfigError: unknown dimer term, negative number of discs, wall <= 0.
    """
    if dimer not in DIMER_TERMS:
        raise ConfigError(
            f"lj-dimer: unknown dimer {dimer!r}: choose one of {', '.join(DIMER_TERMS)}"
        )
    if n_solvent < 0:
        raise ConfigError(f"lj-dimer: n_solvent must be 0 or more, got {n_solvent}")
    if not (math.isfinite(wall) and wall > 0):
        raise ConfigError(f"lj-dimer: wall must be > 0, got {wall}")
    potential = _potential(n_solvent + 2, DIMER_TERMS[dimer], wall)
    start = np.stack([lattice(n_solvent, d) for d in (0.95, 2.05)])
    if relax:
        start = np.stack([_relaxed(potential, x) for x in start])
    return System(
        name="lj-dimer",
        dim=2 * (n_solvent + 2),
        potential=potential,
        energy_unit="kT",
        start=start,
        states=(
            State(
                name="closed",
                contains=lambda x: dimer_distance(x) < D_SPLIT,
                definition=f"dimer distance < {D_SPLIT}",
            ),
            State(
                name="open",
                contains=lambda x: dimer_distance(x) >= D_SPLIT,
                definition=f"dimer distance >= {D_SPLIT}",
            ),
        ),
        collective_variable=CollectiveVariable(name="d", of=dimer_distance, bounds=(0.5, 2.5)),
    )


def lattice(n_solvent: int, d: float) -> np.ndarray:
    """Dimer at (-d/2, 0) and (d/2, 0), discs on a square lattice, all times 1.05: ``(2 (n_solvent + 2),)``."""
    side = max(2, math.ceil(math.sqrt(n_solvent)))
    ticks = np.linspace(-HALF_WIDTH, HALF_WIDTH, side)
    discs = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)[:n_solvent]
    pair = 1.05 * np.array([[-d / 2, 0.0], [d / 2, 0.0]])
    return np.concatenate([pair, discs]).ravel()


def symmetries(n_solvent: int = 36, *, both_orientations: bool = False) -> SignedPermutations:
    """Reflections of the box that leave the energy, and the discs' label cell about `lattice`, as they are.

    A reflection of all particles carries the disc of one lattice site to another site; it is
    followed by the relabelling of the discs that carries it back, so that a configuration in the
    fundamental cell of the lattice stays there (`coords.in_cell`). Reflecting x also puts the
    dimer's right particle on the left. So there are eight elements: reflect x or not, reflect y or
    not, exchange the dimer's particles or not. Four of them keep particle 0 on the left: those that
    exchange where they reflect x.

    Args:
        n_solvent: discs. both_orientations: all eight elements, for an ensemble in which the dimer turns round.

    Returns:
        Four or eight elements, as signed permutations of the coordinates.

    Raises:
        ConfigError: if the lattice has not the symmetry of the box: use a square number of discs.
    """
    sites = lattice(n_solvent, 1.0)[4:].reshape(-1, 2)
    index, sign = [], []
    for flip_x, flip_y, exchange in itertools.product((False, True), repeat=3):
        if exchange != flip_x and not both_orientations:
            continue
        flips = np.array([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])
        # the particle that each label gets: the one that the reflection brings there
        apart = np.linalg.norm(sites[:, None] - flips * sites[None], axis=-1)
        if not np.all(apart.min(1, initial=np.inf) < 1e-6) and n_solvent:
            raise ConfigError(
                f"lj-dimer: a lattice of {n_solvent} discs has not the symmetry of the box;"
                " use a square number of discs, 4 or more"
            )
        discs = apart.argmin(1) if n_solvent else np.zeros(0, int)
        particles = np.concatenate([[1, 0] if exchange else [0, 1], 2 + discs])
        index.append((2 * particles[:, None] + np.arange(2)).ravel())
        sign.append(np.tile(flips, n_solvent + 2))
    return SignedPermutations(np.stack(index).astype(np.int32), np.stack(sign))


def _potential(n: int, dimer: tuple[float, float, float], wall: float) -> Callable[[Array], Array]:
    linear, quadratic, quartic = dimer

    def potential(x: Array) -> Array:
        xp = x.__array_namespace__()
        xs, ys = x[0::2], x[1::2]
        centre = CENTRE_CONSTANT * ((xs[0] + xs[1]) ** 2 + ys[0] ** 2 + ys[1] ** 2)
        t = dimer_distance(x) - D_SPLIT
        bond = linear * t + quadratic * t**2 + quartic * t**4
        beyond = xp.maximum(xp.abs(x) - HALF_WIDTH, 0.0)
        if isinstance(xs, np.ndarray) and isinstance(ys, np.ndarray):
            repulsion = soft_discs_in_numpy(xs, ys)
        else:
            repulsion = soft_discs(xs, ys)
        return centre + bond + wall * (beyond**2).sum(0) + repulsion

    return potential


def _relaxed(potential: Callable[[Array], Array], x: np.ndarray) -> np.ndarray:
    """The nearest minimum downhill, in float64."""
    with jax.enable_x64():
        both = jax.jit(jax.value_and_grad(potential))
        found = minimize(
            lambda x: tuple(map(np.asarray, both(jnp.asarray(x)))), x, jac=True, method="L-BFGS-B"
        )
    return found.x
