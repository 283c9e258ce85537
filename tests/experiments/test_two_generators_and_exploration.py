"""Two generators with their three estimates, and the scripts of Figs. 4 and 6 in their fast setting."""

import dataclasses
import functools
import importlib.util
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from jbg import coords, flows
from jbg.analysis import mean_weight_difference
from jbg.generator import Generator
from jbg.interfaces import ConfigError, State, System
from jbg.losses import NLL, OwnSamples
from jbg.plotting import exploration
from jbg.plotting import two_generators as two_generators_figure
from jbg.runs import open_run
from jbg.studies import two_generators
from jbg.studies.problem import Examples, Problem
from jbg.targets import make_target
from jbg.training import Stage
from tests.losses.affine import generator as affine

pytestmark = pytest.mark.study

SCRIPTS = Path(__file__).resolve().parents[2] / "experiments" / "noe2019"
WIDTHS, HEIGHTS = (0.3, 0.6), (0.0, 1.5)  # of two Gaussian wells at x = -5 and 5
LEFT = State(name="left", contains=lambda x: x[0] < 0, definition="x < 0")
RIGHT = State(name="right", contains=lambda x: x[0] >= 0, definition="x >= 0")
TAU = 2.0


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def energy(x):
    """Two harmonic wells, cut in the middle: ln Z_S(tau) = -height/tau + ln(2 pi tau width^2)."""
    xp = x.__array_namespace__()
    left, right = (
        ((x[0] - at) ** 2 + x[1] ** 2) / (2 * width**2) + height
        for at, width, height in zip((-5.0, 5.0), WIDTHS, HEIGHTS, strict=True)
    )
    return xp.where(x[0] < 0, left, right)


EXACT = (HEIGHTS[1] - HEIGHTS[0]) / TAU - 2 * math.log(WIDTHS[1] / WIDTHS[0])


@pytest.fixture(scope="module")
def problem():
    """Fixed generators: q of mean (-5, 0) or (5, 0) and of widths that are not those of the wells."""
    rng = np.random.default_rng(0)
    system = System(
        name="two gaussians", dim=2, potential=energy, energy_unit="kT",
        start=np.array([[-5.0, 0.0], [5.0, 0.0]]), states=(LEFT, RIGHT),
    )  # fmt: skip
    data = np.concatenate(
        [
            [at, 0.0] + width * rng.standard_normal((50, 2))
            for at, width in zip((-5.0, 5.0), WIDTHS, strict=True)
        ]
    ).astype(np.float32)
    return Problem(
        system=system,
        target=make_target(system),
        flow=Generator(base=flows.normal(2), bijector=flows.permute(np.arange(2))),
        coords=flows.permute(np.arange(2)),
        examples=Examples(train=data, heldout=data),
        u_reference=0.0,
        batch=1000,
    )


@functools.cache
def of_state(problem, state, centre, width):
    """The problem of one state, its flow a fixed affine map."""
    fit = coords.Standardisation(np.array([centre, 0.0]), np.full(2, width))
    flow = dataclasses.replace(problem.flow, bijector=coords.standardisation(fit))
    return dataclasses.replace(two_generators.only_state(problem, state), flow=flow)


def both_states(problem, seed, widths=(0.4, 0.5), centres=(-5.0, 5.0), n=4000):
    """`StateSamples` of both states at TAU."""
    found = []
    for i, state in enumerate((LEFT, RIGHT)):
        one = of_state(problem, state, centres[i], widths[i])
        k_draw, k_simulate = jax.random.split(jax.random.fold_in(jax.random.key(seed), i))
        drawn = two_generators.draw(k_draw, one, ((), ()), n=n, tau=TAU)
        simulated = two_generators.simulate_state(
            k_simulate, one, state, tau=TAU, n_chains=8, n_steps=1000, stride=10
        )
        assert np.asarray(state.contains(np.moveaxis(simulated.x, -1, 0))).all()
        found.append(two_generators.one_state(one, ((), ()), state, drawn, simulated.x, tau=TAU))
    return found


def test_bar_and_reweighting_give_the_closed_form(problem):
    """Four sets of samples: no error beyond 4.5 of its standard errors, and their mean within 4.5 of its own."""
    for name in ("bar", "reweighting"):
        scaled = []
        for seed in range(4):
            found = two_generators.differences(*both_states(problem, seed), tau=TAU, seed=seed)[
                name
            ]
            assert found.value is not None, found.reason
            assert 1e-3 < found.stderr < 0.1
            scaled.append((found.value - EXACT) / found.stderr)
        assert np.abs(scaled).max() < 4.5
        assert abs(np.mean(scaled)) < 4.5 / math.sqrt(4)


def test_a_generator_that_leaks_is_still_right(problem):
    """Centres moved to the wall: a third of the samples and more are lost, and the estimates hold."""
    a, b = both_states(problem, 11, widths=(2.0, 2.0), centres=(-1.5, 1.5), n=20_000)
    assert len(a.generated_u) < 0.75 * a.n_generated
    found = two_generators.differences(a, b, tau=TAU, seed=0)
    for name in ("bar", "reweighting"):
        assert abs(found[name].value - EXACT) < 4.5 * found[name].stderr


def test_loss_difference_is_off_by_the_difference_of_divergences(problem):
    """KL of Gaussians, per dimension ln(s_p/s_q) + s_q^2 / (2 s_p^2) - 1/2: known, and not in the estimate."""
    widths = (0.4, 0.5)
    kl = [
        2 * (math.log(p / q) + (q / p) ** 2 / 2 - 0.5) for p, q in zip(WIDTHS, widths, strict=True)
    ]
    found = two_generators.differences(*both_states(problem, 3, widths), tau=TAU, seed=0)
    published = found["kl losses"]
    assert abs(kl[1] - kl[0]) > 10 * published.stderr
    assert abs(published.value - (EXACT + kl[1] - kl[0])) < 4.5 * published.stderr


def test_simulations_have_the_step_asked_for_and_the_variance_of_the_well(problem):
    found = two_generators.simulate_state(
        jax.random.key(5), problem, RIGHT, tau=TAU, n_chains=32, n_steps=1000, stride=1
    )
    moved = np.diff(found.x, axis=1).any(axis=-1).mean()
    assert abs(moved - two_generators.ACCEPTANCE) < 0.06
    squares = ((found.x - [5.0, 0.0]) ** 2).mean(axis=(1, 2))  # of independent chains
    error = squares.std(ddof=1) / math.sqrt(len(squares))
    assert abs(squares.mean() - TAU * WIDTHS[1] ** 2) < 4.5 * error


def test_mean_weights_need_effective_samples():
    rng = np.random.default_rng(1)
    good, bad = rng.normal(0, 0.1, 1000), np.where(np.arange(1000) < 40, 0.0, -np.inf)
    assert "in the second state" in mean_weight_difference(good, bad, seed=0).reason
    found = mean_weight_difference(good, np.where(np.arange(1000) < 500, 0.0, -np.inf), seed=0)
    exact = 0.1**2 / 2 - math.log(0.5)
    assert abs(found.value - exact) < 4.5 * found.stderr
    np.testing.assert_allclose(found.stderr, math.hypot(0.1, 1.0) / math.sqrt(1000), rtol=0.1)


def test_a_state_without_data_is_named(problem):
    nowhere = State(name="nowhere", contains=lambda x: x[0] > 99, definition="x > 99")
    with pytest.raises(ConfigError, match="no data in state 'nowhere'"):
        two_generators.only_state(problem, nowhere)


def test_training_stays_in_the_state(problem):
    """An affine flow, by example and from own samples: the data's mean, and next to nothing beyond the wall."""
    one = dataclasses.replace(two_generators.only_state(problem, RIGHT), flow=affine())
    assert len(one.examples.train) == 50
    stage = Stage(
        name="both", steps=400, batch_size=64, data_batch=50, learning_rate=0.1,
        losses=(NLL(), OwnSamples(log_variance=0.0)), ema=0.9, log_every=400,
    )  # fmt: skip
    params = two_generators.train_generator(jax.random.key(2), one, (stage,))
    drawn = two_generators.draw(jax.random.key(3), one, params, n=1500)
    assert drawn.x.shape == (1500, 2)
    inside = np.asarray(RIGHT.contains(drawn.x.T))
    assert inside.mean() > 0.95
    np.testing.assert_array_equal(np.isinf(drawn.u), ~inside)
    assert abs(np.median(drawn.x[:, 0]) - 5.0) < 0.3  # half a width of the well


def test_convergence_uses_the_first_samples(problem):
    problems = tuple(of_state(problem, s, at, 0.5) for s, at in ((LEFT, -5.0), (RIGHT, 5.0)))
    states, params, keys = (LEFT, RIGHT), (((), ()),) * 2, jax.random.split(jax.random.key(8))
    drawn = tuple(
        two_generators.draw(k, p, w, n=2000) for k, p, w in zip(keys, problems, params, strict=True)
    )
    simulated = tuple(
        two_generators.simulate_state(k, p, s, n_chains=8, n_steps=1000).x
        for k, p, s in zip(keys, problems, states, strict=True)
    )
    found = two_generators.convergence(
        problems, params, states, drawn, simulated, counts=(100, 2000), tau=1.0, seed=0
    )
    log_w = [-d.u[:100].astype(float) - d.log_q[:100] for d in drawn]
    expected = mean_weight_difference(*log_w, seed=0)
    assert found[100]["reweighting"].value == pytest.approx(expected.value, abs=1e-9)
    assert found[2000]["reweighting"].stderr < 0.5 * found[100]["reweighting"].stderr


def rows_of(errors, stderr=0.01):
    """Rows of the double well at two temperatures, one seed for each error."""
    return [
        {
            "system": "double-well", "seed": seed, "a": "left", "b": "right", "tau": tau, "n": n,
            "estimator": name, "reference": 3.0, "value": 3.0 + error, "stderr": stderr,
            "interval95": (3.0 + error - 2 * stderr, 3.0 + error + 2 * stderr), "reason": None,
        }
        for seed, error in enumerate(errors)
        for tau in (1.0, 2.0)
        for n in (100, 1000)
        for name in two_generators.ESTIMATORS
    ]  # fmt: skip


def test_table_and_figure_of_fig6(tmp_path):
    rows = rows_of([0.015, -0.03, 0.006])
    rows[-1] |= {"value": None, "stderr": None, "interval95": None, "reason": "too few"}
    lines = script("fig6").table(rows)
    assert len(lines) == 2 * len(two_generators.ESTIMATORS)
    assert lines[0]["cover"] == 2
    assert lines[0]["given"] == lines[0]["seeds"] == 3
    assert lines[0]["largest_error"] == pytest.approx(0.03)
    assert lines[0]["ours"] == pytest.approx(3.0 - 0.003)
    assert [line["given"] for line in lines[-1:]] == [2]
    two_generators_figure(rows, tmp_path / "fig6.png")
    assert (tmp_path / "fig6.png").stat().st_size > 10_000


def test_figure_of_fig4(tmp_path):
    n, path = 1000 * np.arange(1, 21), tmp_path / "fig4.png"
    shares = np.stack([1 - n / 40_000, n / 40_000], axis=1)
    points = np.random.default_rng(0).normal(size=(100, 2))
    history = {
        "n_evaluations": n,
        "accepted_local": np.full(20, 0.3),
        "step": np.ones(20),
        "shares": shares,
    }
    exploration(
        path, history,
        state_names=["left", "right"], axis_labels=("x", "y"), snapshots=[(k, points) for k in (0, 1, 2)],
    )  # fmt: skip
    assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_fig6_writes_its_table_and_figure_and_reads_back(tmp_path, capsys):
    fig6 = script("fig6")
    go = lambda: fig6.main(seeds=1, systems=("double-well",), out=tmp_path, fast=True)
    go()
    written = json.loads((tmp_path / "fig6.json").read_text())
    assert len(written["table"]) == 4 * 3  # temperatures, estimators
    for line in written["table"]:
        assert line.keys() >= {
            "system",
            "tau",
            "estimator",
            "published",
            "reference",
            "ours",
            "stderr",
        }
    ours = [r for r in written["rows"] if r["estimator"] == "bar" and r["value"] is not None]
    assert ours
    assert all(abs(r["value"] - r["reference"]) < 6 * r["stderr"] + 0.05 for r in ours)
    assert (tmp_path / "fig6.png").stat().st_size > 10_000
    capsys.readouterr()
    go()
    assert json.loads((tmp_path / "fig6.json").read_text()) == written
    assert "tau 0.5," not in capsys.readouterr().out  # nothing was done again


@pytest.mark.slow
def test_fig4_writes_its_table_and_figure_and_goes_on(tmp_path):
    fig4 = script("fig4")
    go = lambda: fig4.main(seeds=1, systems=("double-well",), out=tmp_path, fast=True)
    go()
    (row,) = json.loads((tmp_path / "fig4.json").read_text())
    assert row["energies"] <= 6000
    assert 3.3 < row["reference"] < 3.5  # by quadrature
    assert (tmp_path / "double-well-0" / "exploration.png").stat().st_size > 10_000
    go()
    (again,) = json.loads((tmp_path / "fig4.json").read_text())
    assert again == row


def test_fig4_takes_the_dimers_reference_from_a_run(tmp_path):
    run = open_run(tmp_path / "run", {"system": "lj-dimer", "seed": 0})
    entries = [{"tau": tau, "reference": tau + 5.0, "reference_stderr": 0.1} for tau in (0.5, 1.0)]
    run.write_json("results.json", {"free_energy_differences": entries})
    assert script("fig4").reference_entry(tmp_path / "run")["reference"] == 6.0


@pytest.mark.slow
def test_fig4_runs_the_dimers_study_and_reads_it_back(tmp_path, monkeypatch):
    fig4 = script("fig4")
    go = lambda: fig4.main(seeds=1, systems=("lj-dimer",), out=tmp_path, fast=True)
    go()
    (row,) = json.loads((tmp_path / "fig4.json").read_text())
    assert row["first_seen"] <= row["energies"] <= 8000
    assert min(row["archived"]) > 0
    assert row["taus_of_moves"] == pytest.approx([30.0, 30.0])
    assert (row["estimator"], row["reference"]) == ("bar", None)
    assert (tmp_path / "lj-dimer-0" / "exploration.png").stat().st_size > 10_000
    assert (tmp_path / "lj-dimer-0" / "report.html").exists()
    monkeypatch.setattr(fig4.engine, "run_all", None)  # nothing is done again
    go()
    assert json.loads((tmp_path / "fig4.json").read_text()) == [row]
