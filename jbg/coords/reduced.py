"""Reduced internal coordinates of a protein: v = [circular | line] <-> positions on a slice of all configurations.

Where the coordinates that are not kept stand at their means, configurations form a slice. ``forward`` maps onto
it, and its log-determinant is that of *all* internal coordinates there, dx = prod d^2 prod sin(theta) dd dtheta
dphi, so that a target pulled back (`generator.pull_back`) is the density of the kept coordinates s given the
fixed ones c,

    p(s | c) ~ exp(-U(x(s, c))/kT) prod sin(theta) over the kept angles,

the Boltzmann density conditioned on the slice. It is not the marginal of the Boltzmann density, which data
rebuilt on the slice are samples of and which lies tens of kT higher in energy: the loss of rebuilt data aims at
one density, that of energies on the slice at the other. No weights lead from either to all atoms. Coordinates and
what is fixed: Kim et al. 2023, arXiv:2401.04246, section 3.2.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jbg.coords.coordinate_fit import apply_in_chunks
from jbg.coords.internal import internal, log_volume
from jbg.coords.labels import coordinate_labels
from jbg.coords.reduced_fit import ReducedFit
from jbg.coords.rings import fold_flips
from jbg.coords.torsions import (
    TorsionCells,
    along,
    linear,
    rotor_torsions,
    torsion_matrix,
    torsion_variables,
    wrap,
)
from jbg.coords.whitening import whitening
from jbg.interfaces import Bijector, Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReducedCoordinates:
    """A bijector v ``(d, *batch)`` -> x ``(3N, *batch)``, nm, onto the slice, with what its variables mean.

    The first ``n_circular`` of v live on the circle [-pi, pi), the other ``n_linear`` on the line; in each of the
    two the backbone's come first. ``forward`` takes circular ones modulo a turn, so that trajectories pass the
    cut. ``inverse`` takes any x, relabels exchangeable atoms, and drops what is not kept: ``rebuild`` is both
    ways, frames ``(n, atoms, 3)`` -> the same with the fixed coordinates at their means; ``fold`` relabels alone,
    so that the two can be compared atom by atom. A v that leaves its domain (a torsion on the line beyond its
    cut, an angle outside (0, pi)) has log-determinant -inf.
    """

    bijector: Bijector
    n_circular: int
    n_linear: int
    labels: tuple[str, ...]
    fit: ReducedFit
    rebuild: Callable[[np.ndarray], np.ndarray]
    fold: Callable[[np.ndarray], np.ndarray]

    @property
    def backbone(self) -> tuple[int, int]:
        """How many of the circular, and of the other variables are the backbone's."""
        flags, n = np.asarray(self.fit.backbone, bool), self.n_circular
        return int(flags[:n].sum()), int(flags[n:].sum())

    @property
    def place(self) -> np.ndarray:
        """Ranks ``(d,)`` of the variables along the chain: by residue, kind, then as the Z-matrix has them."""
        order = np.lexsort((self.fit.kept, self.fit.kind, self.fit.residue))
        return np.argsort(order)


def reduced_from_fit(topology: Topology, fit: ReducedFit) -> ReducedCoordinates:
    """The coordinates of a fit; ``topology`` serves only their labels."""
    white, zmatrix = whitening(fit.whitening), fit.zmatrix
    atoms, n = internal(zmatrix), zmatrix.n_atoms
    rotors = fit.rotor_groups
    cells = TorsionCells(fit.centre, np.full(n - 3, np.pi))
    to_labels = torsion_variables(zmatrix, rotors, cells)
    flips = fit.flips
    folds = fit.centre[fit.flip_lead]
    constant, matrix = _slice_of(fit)
    log_cells = -float(sum(np.log(len(rotor)) for rotor in rotors)) - flips.n * np.log(2.0)
    kept = np.asarray(fit.kept, np.int32)
    scale = _scale(fit)[kept]
    width = np.asarray(fit.half_width)

    def on_slice(values):
        return along(constant, values) + linear(matrix, values)

    def log_det_of(values, y):
        bonds, angles, _ = jnp.split(y, [n - 1, 2 * n - 3])
        inside = jnp.all(jnp.abs(values) < along(width + 1e-5, values), 0)
        return jnp.where(inside, log_volume(bonds, angles) + log_cells, -jnp.inf)

    def forward(params, v):
        circular, line = v[: fit.n_circular], v[fit.n_circular :]
        values, log_white = white.forward((), jnp.concatenate([wrap(circular), line]))
        y = on_slice(values)
        x, _ = atoms.forward((), y)
        return x, log_det_of(values, y) + log_white

    def variables(x):
        y, _ = atoms.inverse((), fold_flips(x, flips, folds))
        return to_labels.inverse((), y)[0]

    def inverse(params, x):
        s = variables(x)
        values = s[kept] * along(scale, s)
        v, log_white = white.inverse((), values)
        return v, log_white - log_det_of(values, on_slice(values))

    def of_frames(positions):
        compiled = jax.jit(lambda _, x: (positions(x), x[0]))

        def apply(frames):
            frames = np.asarray(frames)
            flat, _ = apply_in_chunks(compiled, frames.reshape(len(frames), -1).T)
            return flat.T.reshape(frames.shape)

        return apply

    def relabelled(x):
        return atoms.forward((), to_labels.forward((), variables(x))[0])[0]

    labels = coordinate_labels(topology, zmatrix, rotors)
    return ReducedCoordinates(
        bijector=Bijector(
            dim_in=len(kept), dim_out=3 * n, init=lambda key: (), forward=forward, inverse=inverse
        ),
        n_circular=fit.n_circular,
        n_linear=fit.n_linear,
        labels=tuple(labels[i] for i in kept),
        fit=fit,
        rebuild=of_frames(lambda x: forward((), inverse((), x)[0])[0]),
        fold=of_frames(relabelled),
    )


def _scale(fit: ReducedFit) -> np.ndarray:
    """Kept value over cell variable ``(3N-6,)``: the torsion of a ring of two equal sides counts twice."""
    n = fit.zmatrix.n_atoms
    scale = np.ones(3 * n - 6)
    scale[2 * n - 3 + fit.flip_lead] = 2.0
    return scale


def _slice_of(fit: ReducedFit) -> tuple[np.ndarray, np.ndarray]:
    """Internal coordinates of the slice, y = constant ``(3N-6,)`` + matrix ``(3N-6, d)`` @ kept values."""
    n = fit.zmatrix.n_atoms
    scale, start = _scale(fit), 2 * n - 3
    to_raw = torsion_matrix(fit.zmatrix, rotor_torsions(fit.zmatrix, fit.rotor_groups))
    full = np.eye(3 * n - 6)
    full[start:, start:] = np.linalg.inv(to_raw)
    fixed = fit.fixed / scale
    fixed[fit.kept] = 0.0
    fixed[start:] += fit.centre
    return full @ fixed, full[:, fit.kept] / scale[fit.kept]
