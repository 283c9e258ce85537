"""Mixed coordinates of Noe et al. 2019: v = [circular | Cartesian components | other line] <-> positions.

A chain of internal coordinates is a long lever: at its end a small turn in the middle moves atoms by far. Here the
atoms of the backbone are Cartesian, superposed on a reference and whitened by principal components, and the others
hang on them by bonds, angles and torsions. With m Cartesian atoms of N there are 3m - 6 components and 3 (N - m)
others, 3N - 6 in all, and the measure is that of all atoms with position and orientation integrated out, as
everywhere (`internal`): the factor of the superposition (`eckart`), which the paper drops, is in the determinant.

    ln|det dx/dv| = ln|det M(y)| + const + sum over other atoms of (2 ln d + ln sin(theta))
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jbg.coords.coordinate_fit import apply_in_chunks
from jbg.coords.directions import rotor_directions
from jbg.coords.eckart import log_superposition_volume, superposed
from jbg.coords.internal import internal, log_volume
from jbg.coords.labels import coordinate_labels
from jbg.coords.mixed_fit import MixedFit, slots_of_others
from jbg.coords.torsions import along, linear, sibling_leads, torsion_variables, wrap
from jbg.coords.whitening import whitening
from jbg.coords.zmatrix import ZMatrix
from jbg.interfaces import Bijector, Topology


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixedCoordinates:
    """A bijector v ``(3N-6, *batch)`` -> x ``(3N, *batch)``, nm, with what its variables mean.

    The first ``n_circular`` of v live on the circle [-pi, pi); ``n_linear`` follow, of which the first
    ``n_components`` are principal components of the Cartesian atoms, the widest first. The domain is that of
    `MolecularCoordinates` for the atoms that are not Cartesian, and for those that are, positions that their
    superposition on the reference leaves as they are: a v outside has log-determinant -inf, and so has an x.
    ``in_domain(frames)``, ``(n, atoms, 3)`` -> ``(n,)`` bool, tells which frames the coordinates have. ``inverse``
    has a first derivative by x and no second.
    """

    bijector: Bijector
    n_circular: int
    n_linear: int
    n_components: int
    labels: tuple[str, ...]
    in_domain: Callable[[np.ndarray], np.ndarray]
    fit: MixedFit


def mixed_from_fit(topology: Topology, fit: MixedFit) -> MixedCoordinates:
    """The coordinates of a fit; ``topology`` serves only their labels."""
    zmatrix, m = fit.zmatrix, fit.n_cartesian
    n, n_soft, n_components = zmatrix.n_atoms, len(fit.soft), 3 * m - 6
    atoms, white = internal(zmatrix), whitening(fit.whitening)
    to_torsions = torsion_variables(zmatrix, fit.rotor_groups, fit.cells)
    to_labels = rotor_directions(zmatrix, fit.rotor_groups, fit.cells)
    measure = _cartesian_variables(zmatrix, m)
    others = slots_of_others(m, n).astype(np.int32)
    first = np.setdiff1d(np.arange(3 * n - 6), others).astype(np.int32)
    joined = np.argsort(np.concatenate([first, others])).astype(np.int32)
    columns = (3 * zmatrix.order[:m, None] + np.arange(3)).ravel().astype(np.int32)
    to_y, to_w = fit.axes * fit.scale, fit.axes.T / fit.scale[:, None]
    log_scale = float(np.log(fit.scale).sum())

    def log_cartesian(y, bonds, angles):
        """The volume of the Cartesian atoms' components, in place of that of their bonds and angles; NaN where
        either is none."""
        volume = log_superposition_volume(fit.reference, y) + log_scale
        of_bonds = log_volume(bonds, angles)
        usable = (volume > -jnp.inf) & (of_bonds > -jnp.inf)
        return jnp.where(usable, volume - of_bonds, jnp.nan)

    def split(v):
        w = v[n_soft : n_soft + n_components]
        return w, jnp.concatenate([v[:n_soft], v[n_soft + n_components :]])

    def forward(params, v):
        w, rest = split(v)
        y = along(fit.mean, w) + linear(to_y, w)
        values, log_det = white.forward((), rest)
        measured = measure(y)
        z = jnp.concatenate([measured, values])[joined]
        for part in (to_labels, to_torsions, atoms):
            z, more = part.forward((), z)
            log_det = log_det + more
        return z, _or_outside(
            log_det + log_cartesian(y, *jnp.split(measured, [m - 1, 2 * m - 3])[:2])
        )

    def inverse(params, x):
        z, log_det = atoms.inverse((), x)
        bonds, angles = z[: m - 1], z[n - 1 : n + m - 3]
        for part in (to_torsions, to_labels):
            z, more = part.inverse((), z)
            log_det = log_det + more
        rest, more = white.inverse((), z[others])
        y = superposed(fit.reference, x[columns])
        w = linear(to_w, y - along(fit.mean, y))
        v = jnp.concatenate([rest[:n_soft], w, rest[n_soft:]])
        return v, _or_outside(log_det + more - log_cartesian(y, bonds, angles))

    def in_domain(frames):
        frames = np.asarray(frames)
        return np.isfinite(apply_in_chunks(inverse_of, frames.reshape(len(frames), -1).T)[1])

    inverse_of = jax.jit(inverse)
    labels = coordinate_labels(topology, zmatrix, fit.rotor_groups, fit.rotor_groups)
    named = [labels[others[i]] for i in (*fit.soft, *fit.stiff)]
    components = [f"component {k + 1}" for k in range(n_components)]
    return MixedCoordinates(
        bijector=Bijector(
            dim_in=3 * n - 6, dim_out=3 * n, init=lambda key: (), forward=forward, inverse=inverse
        ),
        n_circular=n_soft,
        n_linear=3 * n - 6 - n_soft,
        n_components=n_components,
        labels=(*named[:n_soft], *components, *named[n_soft:]),
        in_domain=in_domain,
        fit=fit,
    )


def _or_outside(log_det: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(log_det), -jnp.inf, log_det)


def _cartesian_variables(zmatrix: ZMatrix, m: int) -> Callable[[jax.Array], jax.Array]:
    """Flat positions ``(3m, *batch)`` -> cell variables of the first m rows ``(3m-6, *batch)``: bonds, angles, and
    torsions, or their offsets from the first about the same bond."""
    place = np.argsort(zmatrix.order)
    rows = ZMatrix(*(np.where(column[:m] < 0, -1, place[column[:m]]) for column in zmatrix))
    inside, leads = internal(rows), sibling_leads(rows).astype(np.int32)
    own = leads == np.arange(m - 3)

    def measure(y):
        z, _ = inside.inverse((), y)
        torsions = z[2 * m - 3 :]
        offsets = wrap(torsions - jnp.where(along(own, torsions) > 0, 0.0, torsions[leads]))
        return jnp.concatenate([z[: 2 * m - 3], offsets])

    return measure
