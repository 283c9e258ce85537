"""The table of all bijectors: whoever adds one adds a row, and every property is checked on it."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbg import flows
from jbg.coords import (
    coordinates_from_fit,
    fit_coordinates,
    fit_mixed,
    fit_principal_components,
    fit_reduced,
    fit_standardisation,
    internal,
    mixed_from_fit,
    principal_components,
    reduced_from_fit,
    standardisation,
)
from jbg.coords.torsions import TorsionCells, torsion_variables
from jbg.coords.whitening import whitening
from jbg.flows.conditioners import ScaleAndShift, mlp
from jbg.flows.coupling import coupling
from jbg.flows.halves import Half, linear_halves
from jbg.flows.transformers import affine, circular_spline, spline
from jbg.flows.two_level import TwoLevelConfig, two_level_flow
from jbg.interfaces import Bijector, ConfigError
from tests.coords.conftest import load
from tests.coords.test_internal import body_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A bijector with what its properties depend on.

    draw: rng, n -> valid latent points ``(dim_in, n)``. circular: rows of z that are angles.
    rows: of x, that a square Jacobian has, None where there is none. seeds: z -> what the log-determinant has
    beyond it.
    mixes: every output depends on every input.
    """

    bijector: Bijector
    draw: Callable
    circular: np.ndarray
    rows: np.ndarray | None
    seeds: Callable = lambda z: 0.0
    mixes: bool = False


def mixed(bijector: Bijector, n_circular: int, **changes) -> Case:
    """Angles over the whole circle, then numbers that reach beyond the splines' interval."""
    dim = bijector.dim_in

    def draw(rng, n):
        angles = rng.uniform(-np.pi, np.pi, (n_circular, n))
        return np.concatenate([angles, 2.5 * rng.normal(size=(dim - n_circular, n))])

    fields = dict(draw=draw, circular=np.arange(n_circular), rows=np.arange(dim)) | changes
    return Case(bijector=bijector, **fields)


def affine_coupling():
    first, second = linear_halves(0, 5)
    net = ScaleAndShift(hidden=(8,))
    layer = coupling(first, second, dim=5, conditioner=net, circular=None, linear=affine())
    return mixed(layer, 0)


def spline_case(n_circular, n_linear, **changes):
    """Angles come first and see angles only, so in a mixed flow not all depends on all."""
    sizes = {
        "n_blocks": 2,
        "n_circular_blocks": 2,
        "n_bins": 3,
        "conditioner": flows.MLP(hidden=(6,)),
    } | changes
    config = flows.SplineFlowConfig(**sizes)
    flow = flows.spline_flow(n_circular, n_linear, config)
    return mixed(flow, n_circular, mixes=not (n_circular and n_linear))


def split_case(n_backbone, n_side, **conditioner):
    """Split flows: (circular, linear) variables of the backbone and of the side chains."""
    n_circular = n_backbone[0] + n_side[0]
    dim = n_circular + n_backbone[1] + n_side[1]
    tokens = flows.Tokens(
        place=np.arange(dim) // 2,
        residue=np.arange(dim) % 3,
        kind=np.arange(dim) % 2,
        n_circular=n_circular,
        n_backbone_circular=n_backbone[0],
        n_backbone_linear=n_backbone[1],
    )
    sizes = {"width": 8, "query_width": 4, "value_width": 6, "dropout": 0.0} | conditioner
    config = flows.SplitFlowConfig(
        n_backbone_couplings=2 if sum(n_side) else 0,
        n_joint_couplings=2,
        n_bins=3,
        conditioner=flows.GatedAttention(**sizes),
    )
    return mixed(flows.split_flow(tokens, config), n_circular)


def two_level_case(*sizes):
    level = flows.SplineFlowConfig(
        n_blocks=2, n_circular_blocks=2, n_bins=3, conditioner=flows.MLP(hidden=(6,))
    )
    flow = two_level_flow(*sizes, TwoLevelConfig(kept=level, rest=level))
    return mixed(flow.bijector, sizes[0])


def chained():
    turn = flows.permute(np.array([2, 0, 1]))
    return mixed(flows.chain(flows.realnvp(3, n_blocks=1, hidden=(8,)), turn, turn), 0)


def repeated():
    """Layers that differ by a constant and have no permutation around them."""
    source = Half(circular=slice(0, 1), linear=slice(2, 3))
    moved = Half(circular=slice(1, 2), linear=slice(3, 4))
    layer = coupling(
        source,
        moved,
        dim=4,
        conditioner=flows.MLP(hidden=(8,)),
        circular=circular_spline(n_bins=4),
        linear=spline(n_bins=4),
    )

    def scaled(row):
        def forward(params, z):
            x, log_det = layer.forward(params, z)
            return x.at[3].multiply(row), log_det + jnp.log(row)

        def inverse(params, x):
            z, log_det = layer.inverse(params, x.at[3].divide(row))
            return z, log_det - jnp.log(row)

        return dataclasses.replace(layer, forward=forward, inverse=inverse)

    return mixed(flows.repeat(scaled, np.array([0.5, 1.5, 1.2])), 2)


def correlated_data():
    """Seven coordinates with widths over two decades, not centred, all of them correlated."""
    rng = np.random.default_rng(7)
    return 2 + rng.normal(size=(60, 7)) * np.geomspace(0.03, 2, 7) @ rng.normal(size=(7, 7))


def molecular():
    peptide = load("dialanine")
    fit = fit_coordinates(peptide.zmatrix, peptide.frames, rotors=peptide.rotors)
    return peptide, coordinates_from_fit(peptide.topology, fit)


def seed_terms(zmatrix, to_internal):
    """2 ln d1 + ln d2 + ln sin(theta2): position and orientation, which the body frame leaves out."""

    def seeds(z):
        y = to_internal(z)
        return 2 * jnp.log(y[0]) + jnp.log(y[1]) + jnp.log(jnp.sin(y[zmatrix.n_atoms - 1]))

    return seeds


def molecular_coordinate():
    peptide, coordinates = molecular()
    bijector, zmatrix = coordinates.bijector, peptide.zmatrix
    measure = lambda z: internal(zmatrix).inverse((), bijector.forward((), z)[0])[0]
    case = mixed(bijector, coordinates.n_circular)

    def draw(rng, n):
        z = case.draw(rng, n)
        z[coordinates.n_circular :] *= 0.4
        return z

    return dataclasses.replace(
        case, draw=draw, rows=body_rows(zmatrix), seeds=seed_terms(zmatrix, measure)
    )


def mixed_coordinates():
    """As molecular coordinates, with the body frame of a Z-matrix that begins with the Cartesian atoms."""
    peptide = load("dialanine")
    fit = fit_mixed(peptide.topology, peptide.frames, rotors=peptide.rotors)
    coordinates = mixed_from_fit(peptide.topology, fit)
    bijector, zmatrix = coordinates.bijector, fit.zmatrix
    measure = lambda z: internal(zmatrix).inverse((), bijector.forward((), z)[0])[0]
    case = mixed(bijector, coordinates.n_circular)

    def draw(rng, n):
        z = case.draw(rng, n)
        z[coordinates.n_circular :] *= 0.4
        return z

    return dataclasses.replace(
        case, draw=draw, rows=body_rows(zmatrix), seeds=seed_terms(zmatrix, measure)
    )


def slice_of_a_peptide():
    """d variables onto a slice: the log-determinant is that of all coordinates there, by autodiff."""
    peptide = load("dialanine")
    fit = fit_reduced(peptide.topology, peptide.zmatrix, peptide.frames, rotors=peptide.rotors)
    coordinates, zmatrix = reduced_from_fit(peptide.topology, fit), peptide.zmatrix
    cells = TorsionCells(fit.centre, np.full(zmatrix.n_atoms - 3, np.pi))
    to_torsions = torsion_variables(zmatrix, fit.rotor_groups, cells)
    white, atoms, rows = whitening(fit.whitening), internal(zmatrix), body_rows(zmatrix)
    seeds = seed_terms(zmatrix, lambda s: to_torsions.forward((), s)[0])
    log_abs = lambda fn, z: jnp.linalg.slogdet(jax.jacfwd(fn)(z))[1]

    def volume(z):
        values = lambda z: white.forward((), z)[0]
        everything = lambda s: atoms.forward((), to_torsions.forward((), s)[0])[0][rows]
        s = jnp.asarray(fit.fixed).at[fit.kept].set(values(z))
        return log_abs(values, z) + log_abs(everything, s) + seeds(s)

    case = mixed(coordinates.bijector, coordinates.n_circular, rows=None, seeds=volume)

    def draw(rng, n):
        z = case.draw(rng, n)
        z[coordinates.n_circular :] *= 0.4
        return z

    return dataclasses.replace(case, draw=draw)


def part_of_molecular(name: str) -> Case:
    """One of the three maps that molecular coordinates are chained from, at values from data."""
    peptide, coordinates = molecular()
    zmatrix, fit, dim = peptide.zmatrix, coordinates.fit, coordinates.bijector.dim_in
    to_torsions = torsion_variables(fit.zmatrix, fit.rotor_groups, fit.cells)
    white, angles = whitening(fit.whitening), np.arange(2 * zmatrix.n_atoms - 3, dim)

    def draw(rng, n):
        """Frames, in the coordinates that the named map starts from."""
        with jax.enable_x64(True):
            frames = peptide.frames[rng.choice(len(peptide.frames), n, replace=False)]
            y = internal(zmatrix).inverse((), jnp.asarray(frames.reshape(n, -1).T))[0]
            if name == "internal":
                return np.asarray(y)
            s = to_torsions.inverse((), y)[0]
            return np.asarray(s if name == "torsion variables" else white.inverse((), s)[0])

    if name == "internal":
        rows, seeds = body_rows(zmatrix), seed_terms(zmatrix, lambda y: y)
        return Case(bijector=internal(zmatrix), draw=draw, circular=angles, rows=rows, seeds=seeds)
    if name == "whitening":
        circular = np.arange(coordinates.n_circular)
        return Case(bijector=white, draw=draw, circular=circular, rows=np.arange(dim))
    return Case(bijector=to_torsions, draw=draw, circular=angles, rows=np.arange(dim))


TABLE = {
    "affine coupling": affine_coupling,
    "realnvp 2": lambda: mixed(flows.realnvp(2, n_blocks=2, hidden=(8,)), 0, mixes=True),
    "realnvp 3": lambda: mixed(flows.realnvp(3, n_blocks=2, hidden=(8,)), 0, mixes=True),
    "realnvp 7": lambda: mixed(flows.realnvp(7, n_blocks=3, hidden=(8,)), 0, mixes=True),
    "spline flow 0+2": lambda: spline_case(0, 2),
    "spline flow 2+0": lambda: spline_case(2, 0),
    "spline flow 1+1": lambda: spline_case(1, 1),
    "spline flow 5+11": lambda: spline_case(5, 11),
    "spline flow 3+0 per variable": lambda: spline_case(
        3, 0, conditioner=flows.PerVariable(hidden=(6,))
    ),
    "spline flow 0+7 per variable": lambda: spline_case(
        0, 7, conditioner=flows.PerVariable(hidden=(6,))
    ),
    "split flow 2+4 and 2+2": lambda: split_case((2, 4), (2, 2)),
    "split flow 2+4, two units": lambda: split_case((2, 4), (0, 0), n_units=2),
    "two-level flow 2+3, rest 5": lambda: two_level_case(2, 3, 5),
    "windows": lambda: mixed(flows.windows([0.2, 0.1], 1), 0),
    "permute": lambda: mixed(flows.permute(np.array([3, 0, 2, 1])), 0),
    "chain": chained,
    "repeat": repeated,
    "internal": lambda: part_of_molecular("internal"),
    "torsion variables": lambda: part_of_molecular("torsion variables"),
    "whitening": lambda: part_of_molecular("whitening"),
    "molecular coordinates": molecular_coordinate,
    "mixed coordinates": mixed_coordinates,
    "slice of reduced coordinates": slice_of_a_peptide,
    "principal components": lambda: mixed(
        principal_components(fit_principal_components(correlated_data())), 0, mixes=True
    ),
    "standardisation": lambda: mixed(standardisation(fit_standardisation(correlated_data())), 0),
}
IDENTITY_AT_INIT = ["spline flow 0+2", "spline flow 1+1"]


SLOW = {"split flow 2+4, two units"}
ROWS = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TABLE]


@pytest.fixture(scope="module", params=ROWS)
def case(request):
    return TABLE[request.param]()


def random_params(bijector, dtype, scale=0.15):
    """Every layer, those that start at zero too, far from its start."""
    rng = np.random.default_rng(2)
    draw = lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), dtype)
    return jax.tree.map(draw, jax.eval_shape(bijector.init, jax.random.key(1)))


def assert_same(found, expected, circular, atol):
    """Equal, angles up to whole turns."""
    difference = np.array(found, np.float64) - np.asarray(expected, np.float64)
    difference[circular] = np.mod(difference[circular] + np.pi, 2 * np.pi) - np.pi
    np.testing.assert_allclose(difference, 0, atol=atol, rtol=0)


def folded(z):
    """A batch of 30 as one of 5 x 6."""
    return z.reshape(*z.shape[:-1], 5, 6)


def check_round_trip(case, z, x, log_det, back, inverse_log_det, atol):
    """All of them of 30 events side by side."""
    assert x.shape == (case.bijector.dim_out, 30)
    assert back.shape == (case.bijector.dim_in, 30)
    assert log_det.shape == inverse_log_det.shape == (30,)
    assert {a.dtype for a in (x, log_det, back, inverse_log_det)} == {z.dtype}
    assert_same(back, z, case.circular, atol)
    # a log-determinant of 60 coordinates sums as many roundings
    np.testing.assert_allclose(log_det + inverse_log_det, 0, atol=atol * max(1, len(z) / 10))
    assert np.all(np.isfinite(log_det))


def test_round_trip_and_the_jacobian(case, x64):
    """The inverse of a batch of two axes; the Jacobian of single events, by vmap."""
    params = random_params(case.bijector, jnp.float64)
    z = jnp.asarray(case.draw(np.random.default_rng(0), 30))
    x, log_det = jax.jit(case.bijector.forward)(params, z)
    back, inverse_log_det = jax.jit(case.bijector.inverse)(params, folded(x))
    assert inverse_log_det.shape == (5, 6)
    check_round_trip(case, z, x, log_det, back.reshape(-1, 30), inverse_log_det.ravel(), atol=1e-9)

    @jax.jit
    def mapped(params, z):
        """(x, ln|det|, dx/dz, seeds) event by event."""

        def twice(z):
            x, log_det = case.bijector.forward(params, z)
            return x, (x, log_det, case.seeds(z))

        jacobian, (x, log_det, seeds) = jax.vmap(jax.jacrev(twice, has_aux=True), 1)(z)
        return x.T, log_det, jacobian, seeds

    one_by_one, of_one, jacobian, seeds = mapped(params, z[:, :4])
    np.testing.assert_allclose(one_by_one, x[:, :4], atol=1e-9)
    np.testing.assert_allclose(of_one, log_det[:4], atol=1e-9)
    log_abs = 0.0
    if case.rows is not None:
        jacobian = np.asarray(jacobian)[:, case.rows]
        log_abs = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(of_one, log_abs + seeds, atol=1e-8, rtol=0)
    if case.mixes:
        assert np.all(np.abs(jacobian).max(0) > 0)


def test_float32_and_its_gradients(case):
    """The forward direction of a batch of two axes; the inverse of single events, by vmap."""
    params = random_params(case.bijector, jnp.float32)
    z = jnp.asarray(case.draw(np.random.default_rng(6), 30), jnp.float32)

    def total(params, z):
        x, log_det = case.bijector.forward(params, z)
        return jnp.sum(x**2) + jnp.sum(log_det), (x, log_det)

    gradient = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    gradients, (x, log_det) = gradient(params, folded(z))
    assert log_det.shape == (5, 6)
    x, log_det = x.reshape(-1, 30), log_det.ravel()
    inverse = jax.jit(jax.vmap(case.bijector.inverse, (None, 1), (1, 0)))
    check_round_trip(case, z, x, log_det, *inverse(params, x), atol=2e-4)
    for leaf in jax.tree.leaves(gradients):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("name", ["affine coupling", "spline flow 1+1"])
def test_without_jit_they_are_the_same(name, x64):
    bijector, z = TABLE[name]().bijector, TABLE[name]().draw(np.random.default_rng(4), 4)
    params = random_params(bijector, jnp.float64)
    for go in (bijector.forward, bijector.inverse):
        for found, expected in zip(go(params, z), jax.jit(go)(params, z), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("name", IDENTITY_AT_INIT)
def test_spline_flows_start_as_the_identity(name, x64):
    case = TABLE[name]()
    z = jnp.asarray(case.draw(np.random.default_rng(0), 20))
    x, log_det = case.bijector.forward(case.bijector.init(jax.random.key(0)), z)
    assert_same(x, z, case.circular, 1e-6)
    np.testing.assert_allclose(log_det, 0, atol=1e-6)


def test_realnvp_starts_with_unit_volume(key):
    flow = flows.realnvp(4)
    z = jax.random.normal(key, (4, 10))
    x, log_det = flow.forward(flow.init(key), z)
    np.testing.assert_array_equal(log_det, np.zeros(10))
    assert np.abs(x - z).max() > 0.1


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="at least one variable"):
        flows.spline_flow(0, 0)
    with pytest.raises(ValueError, match="3 outputs cannot feed one with 4 inputs"):
        flows.chain(flows.permute(np.arange(3)), flows.permute(np.arange(4)))
    with pytest.raises(ValueError, match="activation must be one of"):
        mlp(1, 1, hidden=(), activation="sigmoid")
    first, second = linear_halves(0, 2)
    with pytest.raises(ConfigError, match="1 linear variables are moved.*pass linear"):
        coupling(
            first, second, dim=2, conditioner=flows.MLP(), circular=circular_spline(), linear=None
        )
