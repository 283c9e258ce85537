"""Molecular dynamics with the compiled force field and by OpenMM: steps per CPU second, and the same ensemble.

    python benchmarks/bench_md.py [--pdb FILE] [--forcefield FF.xml SOLVENT.xml] [--chains 64] [--steps 20000]

Both run Langevin dynamics at 300 K, 1 fs, friction 10/ps, from the same configuration: BAOAB of many chains in
one program (`jbg.sampling.langevin`), and OpenMM's LangevinMiddleIntegrator in one context at a time, Reference up
to 100 atoms and one thread of the CPU platform beyond. The first fifth is left out. Mean potential energy and its
variance with the errors of independent chains (of OpenMM a quarter as many, four times as long), how far they are
apart in combined errors, and the kinetic temperature in the middle of steps. JAX is held to one core.
"""

import argparse
import os
import time
from pathlib import Path

import jax
import numpy as np
import openmm
from record import report

from jbg.sampling.langevin import langevin
from jbg.systems.forcefield import compiled_potential
from jbg.systems.molecule import FORCEFIELD, molecule_from_pdb, molecule_from_sequence
from jbg.systems.openmm_pool import default_platform

TEMPERATURE, STEP_PS, FRICTION, STRIDE = 300.0, 0.001, 10.0, 50


def by_openmm(molecule, n_chains: int, n_steps: int) -> np.ndarray:
    """Potential energies ``(n_chains, n_frames)``, one chain after the other."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    name = default_platform(len(molecule.positions))
    options = {"Threads": "1"} if name == "CPU" else {}
    energies = []
    for chain in range(n_chains):
        integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, STEP_PS)
        integrator.setRandomNumberSeed(chain + 1)
        platform = openmm.Platform.getPlatformByName(name)
        context = openmm.Context(system, integrator, platform, options)
        context.setPositions(molecule.positions)
        context.setVelocitiesToTemperature(TEMPERATURE, chain + 1)
        mine = []
        for _ in range(n_steps // STRIDE):
            integrator.step(STRIDE)
            mine.append(context.getState(energy=True).getPotentialEnergy()._value)
        energies.append(mine)
    return np.array(energies)


def mean_and_variance(energies: np.ndarray) -> np.ndarray:
    """((mean, its error), (variance, its error)), from chains without their first fifth."""
    kept = energies[:, energies.shape[1] // 5 :]
    of_chains = np.array([kept.mean(1), ((kept - kept.mean()) ** 2).mean(1)])
    error = of_chains.std(1, ddof=1) / np.sqrt(of_chains.shape[1])
    return np.stack([of_chains.mean(1), error], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pdb", type=Path)
    parser.add_argument("--forcefield", nargs="+", default=FORCEFIELD)
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20_000)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if args.pdb is None:
        molecule = molecule_from_sequence("ACE-ALA-NME", forcefield=args.forcefield)
    else:
        molecule = molecule_from_pdb(args.pdb, forcefield=args.forcefield)
    about = {"molecule": molecule.name, "atoms": len(molecule.positions)}
    about |= {"forcefield": " ".join(args.forcefield), "chains": args.chains, "steps": args.steps}
    potential = compiled_potential(molecule.system_xml)
    start = np.repeat(molecule.positions.reshape(1, -1), args.chains, axis=0)
    settings = {"masses": molecule.masses, "temperature": TEMPERATURE, "stride": STRIDE}
    settings |= {"timestep_ps": STEP_PS, "friction": FRICTION, "n_steps": args.steps}
    langevin(jax.random.key(0), potential, start, **settings)  # compiles
    begin = time.process_time()
    found = langevin(jax.random.key(1), potential, start, **settings)
    of_jax = args.chains * args.steps / (time.process_time() - begin)
    begin = time.process_time()
    theirs = by_openmm(molecule, args.chains // 4, 4 * args.steps)
    of_openmm = args.chains // 4 * 4 * args.steps / (time.process_time() - begin)
    report("md/jax", of_jax, "chain steps per CPU second", **about)
    report("md/openmm", of_openmm, "chain steps per CPU second", **about)
    report("md/jax over openmm", of_jax / of_openmm, "x", **about)
    names = ("mean energy / kJ/mol", "variance of the energy / (kJ/mol)^2")
    pairs = zip(names, mean_and_variance(found.energies), mean_and_variance(theirs), strict=True)
    for name, (mine, error), (reference, its_error) in pairs:
        apart = (mine - reference) / np.hypot(error, its_error)
        numbers = {"stderr": error, "openmm": reference, "openmm_stderr": its_error}
        report(f"md/{name}", mine, "", **numbers, combined_errors_apart=apart, **about)
    kept = found.temperatures[:, found.temperatures.shape[1] // 5 :].mean(1)
    error = kept.std(ddof=1) / np.sqrt(len(kept))
    report("md/kinetic temperature", kept.mean(), "K", stderr=error, **about)


if __name__ == "__main__":
    main()
