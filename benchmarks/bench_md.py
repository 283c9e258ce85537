"""Molecular dynamics with the compiled force field and by OpenMM: steps per CPU second, and the same ensemble.

    python benchmarks/bench_md.py [--pdb FILE] [--forcefield FF.xml SOLVENT.xml] [--chains 64] [--steps 20000]

Both run Langevin dynamics at 300 K, 1 fs, friction 10/ps, from the same configuration: BAOAB of many chains in
one program (`simulation.langevin`), and OpenMM's LangevinMiddleIntegrator in one context at a time, Reference up
to 100 atoms and one thread of the CPU platform beyond. Chains are as many and as long, so that at each time both
have the same distribution, slow modes of a protein included; a quarter of the steps goes before them, left out.
Mean potential energy and its variance with the errors of independent chains, how far they are apart in combined
errors, and the kinetic temperature in the middle of steps. JAX is held to one core.
"""

import argparse
import os
import time
from pathlib import Path

import jax
import numpy as np
import openmm
from record import report

from jbg.analysis.chain_averages import chain_averages
from jbg.simulation.langevin import LangevinConfig, langevin
from jbg.systems.forcefield import compiled_potential
from jbg.systems.molecule import FORCEFIELD, molecule_from_pdb, molecule_from_sequence
from jbg.systems.openmm_pool import default_platform

TEMPERATURE, STEP_PS, FRICTION, STRIDE = 300.0, 0.001, 10.0, 50
QUARTERS = 4  # after one that warms up


def by_jax(molecule, n_chains: int, n_steps: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Energies and kinetic temperatures ``(n_chains, n_frames)``, and the CPU seconds they took."""
    potential = compiled_potential(molecule.system_xml)
    x = np.repeat(molecule.positions.reshape(1, -1), n_chains, axis=0)
    config = LangevinConfig(
        n_steps=n_steps // QUARTERS, stride=STRIDE, timestep_ps=STEP_PS, friction=FRICTION
    )
    settings = {"masses": molecule.masses, "temperature": TEMPERATURE, "config": config}
    v, parts = None, []
    for quarter in range(1 + QUARTERS):
        if quarter == 1:  # the first one compiles too
            begin = time.process_time()
        found = langevin(jax.random.key(quarter), potential, x, velocities=v, **settings)
        x, v = found.positions[:, -1], found.velocities
        parts.append((found.energies, found.temperatures))
    seconds = time.process_time() - begin
    return *np.concatenate(parts[1:], axis=2), seconds


def by_openmm(molecule, n_chains: int, n_steps: int) -> tuple[np.ndarray, float]:
    """Potential energies ``(n_chains, n_frames)``, one chain after the other, and the CPU seconds they took."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    name = default_platform(len(molecule.positions))
    options = {"Threads": "1"} if name == "CPU" else {}
    energies, seconds = [], 0.0
    for chain in range(n_chains):
        integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, STEP_PS)
        integrator.setRandomNumberSeed(chain + 1)
        platform = openmm.Platform.getPlatformByName(name)
        context = openmm.Context(system, integrator, platform, options)
        context.setPositions(molecule.positions)
        context.setVelocitiesToTemperature(TEMPERATURE, chain + 1)
        integrator.step(n_steps // QUARTERS)
        begin = time.process_time()
        mine = []
        for _ in range(n_steps // STRIDE):
            integrator.step(STRIDE)
            mine.append(context.getState(energy=True).getPotentialEnergy()._value)
        seconds += time.process_time() - begin
        energies.append(mine)
    return np.array(energies), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pdb", type=Path)
    parser.add_argument("--forcefield", nargs="+", default=FORCEFIELD)
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20_000)
    args = parser.parse_args()
    if args.chains < 2 or args.steps < 1 or args.steps % (QUARTERS * STRIDE):
        parser.error(f"needs 2 chains and steps in multiples of {QUARTERS * STRIDE}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if args.pdb is None:
        molecule = molecule_from_sequence("ACE-ALA-NME", forcefield=args.forcefield)
    else:
        molecule = molecule_from_pdb(args.pdb, forcefield=args.forcefield)
    about = {"molecule": molecule.name, "atoms": len(molecule.positions)}
    about |= {"forcefield": " ".join(args.forcefield), "chains": args.chains, "steps": args.steps}
    steps = args.chains * args.steps
    energies, temperatures, seconds = by_jax(molecule, args.chains, args.steps)
    of_jax = steps / seconds
    theirs, seconds = by_openmm(molecule, args.chains, args.steps)
    of_openmm = steps / seconds
    report("md/jax", of_jax, "chain steps per CPU second", **about)
    report("md/openmm", of_openmm, "chain steps per CPU second", **about)
    report("md/jax over openmm", of_jax / of_openmm, "x", **about)
    mine, reference = chain_averages(energies), chain_averages(theirs)
    for what, unit in (("mean", "kJ/mol"), ("variance", "(kJ/mol)^2")):
        value, error, openmm_value, openmm_error = (
            getattr(of, name) for of in (mine, reference) for name in (what, f"{what}_stderr")
        )
        apart = (value - openmm_value) / np.hypot(error, openmm_error)
        numbers = {"stderr": error, "openmm": openmm_value, "openmm_stderr": openmm_error}
        numbers |= {"combined_errors_apart": apart}
        report(f"md/{what} of the energy", value, unit, **numbers, **about)
    kelvin = chain_averages(temperatures)
    report("md/kinetic temperature", kelvin.mean, "K", stderr=kelvin.mean_stderr, **about)


if __name__ == "__main__":
    main()
