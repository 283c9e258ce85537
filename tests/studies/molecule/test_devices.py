"""A molecule with energies of OpenMM on eight devices: it trains, samples and is evaluated as on two."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jbg.studies import engine
from tests import tiny

pytestmark = [pytest.mark.openmm, pytest.mark.slow]

REST = """
import sys
from jbg.cli import main as cli

for command in ("train", "sample", "evaluate"):
    status = cli.main([command, sys.argv[1]])
    assert status == 0, (command, status)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two of the same plan: one in this process, one that eight devices go on with after the simulation."""
    plan = tiny.molecule(
        "alanine-dipeptide", data="none", recipe="own-samples", energies="openmm", steps=20
    )
    here, there = (
        engine.open_run(tmp_path_factory.mktemp("runs") / name, plan) for name in ("here", "there")
    )
    engine.run_all(here, quiet=True)
    engine.simulate(there, quiet=True)
    flags = os.environ["XLA_FLAGS"].replace("device_count=2", "device_count=8")
    environment = {k: v for k, v in os.environ.items() if k != "NPROC"} | {"XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, "-c", REST, str(there.path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return here, there, done.stderr


def test_a_run_says_that_it_goes_on_with_other_devices(runs):
    _, there, told = runs
    assert told.count("device_count 2 -> 8") == 1
    assert {entry["device"]["device_count"] for entry in there.manifest()["continued"]} == {8}


def test_eight_devices_train_as_two(runs):
    here, there, _ = runs
    first, *_ = zip(here.metrics(), there.metrics(), strict=True)
    for name, value in first[0].items():
        if name in ("loss", "forward_kl", "log_variance", "ess", "grad_norm"):
            np.testing.assert_allclose(first[1][name], value, rtol=1e-3, atol=1e-4)
    assert [r["step"] for r in here.metrics()] == [r["step"] for r in there.metrics()]


def test_samples_and_results_of_eight_devices_are_sound(runs):
    _, there, _ = runs
    drawn = engine.load_ensemble(there)
    problem = engine.load_problem(there)
    params = (engine.load_params(there, problem), ())
    log_q = problem.log_probs(params, np.asarray(drawn.positions), (1.0,))[0]
    assert np.median(np.abs(log_q - drawn.log_q)) < 1e-2
    u = problem.reduced_energies(np.asarray(drawn.positions))
    known = np.isfinite(drawn.reduced_energy) & (drawn.reduced_energy < 1e6)
    np.testing.assert_allclose(u[known], drawn.reduced_energy[known], rtol=1e-3, atol=1e-2)
    tiny.check_results(there.read_json("results.json"))
