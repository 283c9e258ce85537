"""A bistable dimer in a bath of soft discs, in two dimensions and in kT (Noé et al. 2019, Fig. 3).

    U = U_centre + U_dimer(d) + U_repulsion + U_wall,  d the distance of particles 0 and 1

    U_centre    = 20 (x0 + x1)^2 + 20 y0^2 + 20 y1^2
    U_repulsion = sum over pairs (sigma / r)^12, each pair once, the dimer's own left out; sigma = 1.1
    U_wall      = wall (|x| - 3)^2 outside of [-3, 3], for each coordinate

Paper and code disagree on U_dimer and on the wall; see `DIMER_TERMS` and `lj_dimer`. Coordinates are interleaved,
x0 y0 x1 y1 ...; the energy is one and the same in simulation, training and weights.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import minimize

from jbg.interfaces import CollectiveVariable, ConfigError, State, System

CENTRE_CONSTANT = 20.0
SIGMA = 1.1
HALF_WIDTH = 3.0
D_SPLIT = 1.5
CLOSEST = (
    0.01 * SIGMA
)  # nearer pairs count as this far apart, 1e24 kT: finite in float32, and weight zero

# (linear, quadratic, quartic) coefficients of U_dimer in d - 1.5
DIMER_TERMS: dict[str, tuple[float, float, float]] = {
    "tilted": (
        4.0,
        -100.0,
        160.0,
    ),  # the stored runs of the 2019 code, slope +2: closed is favoured
    "default": (-1.0, -100.0, 160.0),  # that code's default slope, -1/2: open is favoured
    "printed": (0.0, -5.0, 5.75),  # a/4 + c, -b/2 as the supplement prints them: a barrier of 1 kT
    "hsu-fobe": (
        -0.5,
        -5.0,
        6.25,
    ),  # the supplement with a linear last term, as Hsu and Fobe 2020 read it
}


def dimer_distance(x: Array) -> Array:
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


def _potential(n: int, dimer: tuple[float, float, float], wall: float) -> Callable[[Array], Array]:
    linear, quadratic, quartic = dimer

    def potential(x: Array) -> Array:
        xp = x.__array_namespace__()
        xs, ys = x[0::2], x[1::2]
        centre = CENTRE_CONSTANT * ((xs[0] + xs[1]) ** 2 + ys[0] ** 2 + ys[1] ** 2)
        t = dimer_distance(x) - D_SPLIT
        bond = linear * t + quadratic * t**2 + quartic * t**4
        beyond = xp.maximum(xp.abs(x) - HALF_WIDTH, 0.0)
        return centre + bond + wall * (beyond**2).sum(0) + _repulsion(xp, xs, ys, n)

    return potential


def _repulsion(xp, xs: Array, ys: Array, n: int) -> Array:
    """Sum over pairs ``(*batch,)``; JAX arrays get the gradient in closed form."""
    return _ring_sum(xp, xs, ys, n) if xp is np else _repulsion_jax(xs, ys)


@jax.custom_jvp
def _repulsion_jax(xs: Array, ys: Array) -> Array:
    return _ring_sum(jnp, xs, ys, xs.shape[0])


@_repulsion_jax.defjvp
def _repulsion_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]):
    """Transposing the shifted sums costs ten times as much as the gradient over all n^2 pairs."""
    xs, ys = primals
    n = xs.shape[0]
    dx, dy = xs[:, None] - xs[None], ys[:, None] - ys[None]
    squared = dx**2 + dy**2
    near = squared < CLOSEST**2  # constant there
    counted = 1.0 - np.eye(n)
    counted[0, 1] = counted[1, 0] = 0.0
    mask = jnp.asarray(counted.reshape(n, n, *(1,) * (xs.ndim - 1)), xs.dtype)
    squared = jnp.where(near, CLOSEST**2, squared)
    inverse = SIGMA**2 / squared
    slope = jnp.where(near, 0.0, -12 * mask * (inverse * inverse * inverse) ** 2 / squared)
    along = (slope * dx).sum(1) * tangents[0] + (slope * dy).sum(1) * tangents[1]
    return _repulsion_jax(xs, ys), along.sum(0)


def _ring_sum(xp, xs: Array, ys: Array, n: int) -> Array:
    """Pairs (i, i + k) for shifts k = 1 ... n/2 round the ring of particles: each pair once, no index arrays."""
    total = xp.zeros_like(xs[0])
    for k in range(1, n // 2 + 1):
        squared = (xs - _turned(xp, xs, k)) ** 2 + (ys - _turned(xp, ys, k)) ** 2
        counted = np.ones(n)
        if 2 * k == n:
            counted[k:] = 0  # opposite pairs come up twice
        if k == 1:
            counted[0] = 0  # the dimer's own
        near = squared < CLOSEST**2
        inverse = SIGMA**2 / xp.where(near, CLOSEST**2, squared)
        mask = xp.asarray(counted.reshape(-1, *(1,) * (xs.ndim - 1)), dtype=xs.dtype)
        total = total + (mask * (inverse * inverse * inverse) ** 2).sum(0)
    return total


def _turned(xp, a: Array, k: int) -> Array:
    return xp.concatenate([a[k:], a[:k]])


def _relaxed(potential: Callable[[Array], Array], x: np.ndarray) -> np.ndarray:
    """The nearest minimum downhill, in float64."""
    with jax.enable_x64():
        both = jax.jit(jax.value_and_grad(potential))
        found = minimize(
            lambda x: tuple(map(np.asarray, both(jnp.asarray(x)))), x, jac=True, method="L-BFGS-B"
        )
    return found.x
