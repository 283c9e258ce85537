"""Callback evaluations per second for alanine dipeptide (22 atoms), batch 1024; one JSON line each.

    python benchmarks/bench_energy.py [--batch 1024] [--repeats 7]

By platform and number of workers: energies alone, and energies with gradients, through
``jax.pure_callback`` as training does it; and leapfrog steps as the simulation does them.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from record import median_seconds, report

from jbg.systems.molecule import molecule_from_sequence
from jbg.systems.openmm_callback import openmm_potential
from jbg.systems.openmm_pool import ContextPool, usable_cores

STEPS = 25  # of one trajectory


def measure(pool: ContextPool, frames: np.ndarray, repeats: int) -> None:
    """All figures of one pool."""
    potential = openmm_potential(pool)
    x = jnp.asarray(frames.reshape(len(frames), -1).T, jnp.float32)
    energy = jax.jit(potential)
    gradient = jax.jit(jax.grad(lambda x: potential(x).sum()))
    few = frames[: 16 * pool.n_workers]
    _, force = pool.energies_and_forces(few)
    calls = {
        "callback/energy": (lambda: energy(x), len(x.T)),
        "callback/energy+gradient": (lambda: gradient(x), len(x.T)),
        "leapfrog/steps": (
            lambda: pool.leapfrog(few, np.zeros_like(few), force, 0.0005, STEPS),
            STEPS * len(few),
        ),
    }
    settings = {"platform": pool.platform, "workers": pool.n_workers, "batch": len(frames)}
    for name, (call, count) in calls.items():
        seconds = median_seconds(call, repeats=repeats)
        report(f"alanine_dipeptide/{name}", count / seconds, "1/s", **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    molecule = molecule_from_sequence("ACE-ALA-NME")
    noise = 0.005 * np.random.default_rng(0).normal(size=(args.batch, 22, 3))
    for platform in ("Reference", "CPU"):
        for n_workers in sorted({1, 2, usable_cores()}):
            with ContextPool(molecule.system_xml, platform=platform, n_workers=n_workers) as pool:
                measure(pool, molecule.positions + noise, args.repeats)


if __name__ == "__main__":
    main()
