"""Wrong layouts and swapped arguments are refused where users enter, in one line that says what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbg
from jbg import coords
from jbg.flows import symmetrised
from jbg.interfaces import SignedPermutations
from jbg.targets import restrict

ROWS = np.zeros((1000, 2), np.float32)  # batch first, as people hold them
SYSTEM = jbg.double_well()
TARGET = jbg.make_target(SYSTEM)
GROUP = SignedPermutations(np.array([[0, 1], [0, 1]]), np.array([[1, 1], [1, -1]]))


def generators():
    spline = jbg.Generator(base=jbg.normal(2), bijector=jbg.spline_flow(0, 2))
    affine = jbg.Generator(base=jbg.normal(2), bijector=jbg.realnvp(2, n_blocks=1, hidden=(4,)))
    return {"spline": spline, "realnvp": affine, "symmetrised": symmetrised(spline, GROUP)}


def entries():
    """name -> a function of x, each a public entry."""
    table = {
        "potential": SYSTEM.potential,
        "reduced_energy": TARGET.reduced_energy,
        "softened": jbg.soften(TARGET, e_high=1.0, e_max=10.0).reduced_energy,
        "restricted": restrict(TARGET, SYSTEM.states[0].contains).reduced_energy,
        "normal": jbg.normal(2).log_prob,
        "uniform": jbg.uniform(2).log_prob,
        "von mises": jbg.von_mises(2, concentration=1.0).log_prob,
        "product": jbg.product(jbg.uniform(1), jbg.normal(1)).log_prob,
        "whitening": lambda x: coords.standardisation(
            coords.Standardisation(np.zeros(2), np.ones(2))
        ).forward((), x),
    }
    table |= {f"state {state.name}": state.contains for state in SYSTEM.states}
    for name, generator in generators().items():
        params = generator.init(jax.random.key(0))
        table[f"{name} log_prob"] = lambda x, g=generator, p=params: g.log_prob(p, x)
        if name != "symmetrised":
            table[f"{name} forward"] = lambda x, g=generator, p=params: g.bijector.forward(p, x)
            table[f"{name} inverse"] = lambda x, g=generator, p=params: g.bijector.inverse(p, x)
    pulled = jbg.pull_back(TARGET, generators()["spline"].bijector.links[0])
    table["pulled back"] = pulled.reduced_energy
    return table


@pytest.mark.parametrize("name", entries())
def test_batch_first_is_refused(name):
    entry = entries()[name]
    with pytest.raises(
        jbg.ConfigError, match=r"expected \(2, \*batch\), got \(1000, 2\).* pass x\.T"
    ):
        entry(jnp.asarray(ROWS) if "state" not in name else ROWS)


@pytest.mark.parametrize("shape", [(), (3,), (3, 5)])
def test_another_dimension_is_refused(shape):
    with pytest.raises(jbg.ConfigError, match=r"expected \(2, \*batch\), got"):
        TARGET.reduced_energy(jnp.zeros(shape))


@pytest.mark.parametrize("shape", [(2,), (2, 7), (2, 3, 4)])
def test_features_first_passes_with_any_batch(shape):
    x = jnp.zeros(shape)
    assert TARGET.reduced_energy(x).shape == shape[1:]
    assert SYSTEM.states[0].contains(x).shape == shape[1:]
    generator = generators()["spline"]
    assert generator.log_prob(generator.init(jax.random.key(0)), x).shape == shape[1:]


def test_the_check_costs_nothing_in_compiled_code():
    text = jax.jit(TARGET.reduced_energy).lower(jnp.zeros((2, 8))).as_text()
    bare = jax.jit(SYSTEM.potential.__wrapped__).lower(jnp.zeros((2, 8))).as_text()
    count = lambda module: sum(" = " in line for line in module.splitlines())
    assert count(text) == count(bare)


def test_fit_and_weigh_refuse_the_other_layout():
    flow = generators()["realnvp"]
    with pytest.raises(jbg.ConfigError, match=r"fit: expected data \(n, 2\), got \(2, 1000\).*T"):
        jbg.fit(jax.random.key(0), flow, data=ROWS.T, losses=(jbg.NLL(),), steps=10)
    with pytest.raises(jbg.ConfigError, match="fit: NLL learns from data, got none"):
        jbg.fit(jax.random.key(0), flow, losses=(jbg.NLL(),), target=TARGET, steps=10)
    drawn = flow.sample(jax.random.key(0), flow.init(jax.random.key(1)), 1000)
    with pytest.raises(jbg.ConfigError, match=r"weigh: expected \(2, \*batch\), got \(1000, 2\)"):
        jbg.weigh(drawn._replace(x=drawn.x.T), TARGET)
    weighed = jbg.weigh(drawn, TARGET)
    assert weighed.frames.shape == (1000, 2)
    with pytest.raises(jbg.ConfigError, match=r"expected a mask \(1000,\) of bool"):
        jbg.free_energy_difference(weighed.log_w, np.arange(3), np.arange(3))


def misuses():
    """name -> (a call as people get it wrong, what the error says)."""
    flow, key = generators()["realnvp"], jax.random.key(0)
    params = flow.init(key)
    drawn = flow.sample(key, params, 10)
    fit = lambda *first, **changes: jbg.fit(
        *(first or (key,)), flow, **{"data": ROWS, "losses": (jbg.NLL(),), "steps": 10} | changes
    )
    use = r"use jbg\.make_target\(system\)"
    return {
        "losses": (lambda: fit(losses=jbg.NLL()), r"must be a tuple of terms such as \(NLL"),
        "loss class": (lambda: fit(losses=(jbg.NLL,)), r"got the class NLL: write NLL\(\)"),
        "fit system": (
            lambda: fit(target=SYSTEM),
            f"fit: expected a Target, got the System.*{use}",
        ),
        "fit function": (lambda: fit(target=len), f"fit: expected a Target, got builtin.*{use}"),
        "seed": (lambda: fit(7), r"fit: expected a random key, got 7: pass jax\.random\.key\(7\)"),
        "weigh system": (
            lambda: jbg.weigh(drawn, SYSTEM),
            f"weigh: expected a Target, got .*{use}",
        ),
        "weigh array": (lambda: jbg.weigh(ROWS, TARGET), r"weigh: expected samples.* got ndarray"),
        "weigh swapped": (
            lambda: jbg.weigh(TARGET, drawn),
            r"got Target first: pass weigh\(samples",
        ),
        "log_prob": (
            lambda: flow.log_prob(drawn.x, params),
            r"expected \(params, x\).*swap the two",
        ),
        "negative": (lambda: flow.sample(key, params, -3), "n must be a whole number >= 0, got -3"),
        "fraction": (lambda: flow.sample(key, params, 10.5), r">= 0, got 10\.5: pass an int"),
        "unweighted": (
            lambda: jbg.free_energy_difference(drawn, *SYSTEM.states[:2]),
            r"expected samples from weigh .*got Samples without weights: pass jbg\.weigh",
        ),
        "array": (
            lambda: jbg.free_energy_difference(drawn.x, *SYSTEM.states[:2]),
            r"log-weights \(n,\), got shape \(2, 10\)",
        ),
        "lengths": (
            lambda: jbg.log_weights(np.ones(3), np.ones(4)),
            r"same length, got \(3,\) and",
        ),
        "column": (
            lambda: jbg.log_weights(np.ones((3, 1)), np.ones(3)),
            "must have the same length",
        ),
        "generator": (
            lambda: jbg.Generator(base=jbg.normal(3), bijector=jbg.spline_flow(0, 2)),
            "same dimension, got 3 and 2: use a base of 2",
        ),
    }


@pytest.mark.parametrize("name", misuses())
def test_misuse_is_one_line(name):
    call, message = misuses()[name]
    with pytest.raises(jbg.ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_double_precision_of_numpy_passes_without_a_warning():
    x = np.random.default_rng(0).normal(size=(2, 5))
    for generator in generators().values():
        params = generator.init(jax.random.key(0))
        single = generator.log_prob(params, x.astype(np.float32))
        np.testing.assert_array_equal(generator.log_prob(params, x), single)
