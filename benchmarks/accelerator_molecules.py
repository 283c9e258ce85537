"""Parts of `bench_accelerator` about molecules themselves: energies, dynamics, internal coordinates.

Each yields (name, call) pairs, one for each thing measured.
"""

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bench_coords
import jax
import jax.numpy as jnp
import numpy as np
import openmm
from bench_energy import energy_and_gradient
from bench_md import FRICTION, STEP_PS, TEMPERATURE
from exactness import of_compiled, of_reference
from record import median_seconds, report, time_compiled

from jbg.simulation.hmc_chains import HmcConfig, hmc_chains
from jbg.simulation.langevin import LangevinConfig, langevin
from jbg.systems.forcefield import compiled_potential
from jbg.systems.molecule import (
    FORCEFIELD,
    Molecule,
    molecular_system,
    molecule_from_pdb,
    molecule_from_sequence,
)
from jbg.targets import make_target

Cases = Iterator[tuple[str, Callable[[], None]]]

ALANINE, OBC1 = "ACE-ALA-NME", ("amber14-all.xml", "implicit/obc1.xml")
LARGE = 200  # atoms
LEAPFROG = 8  # steps of a trajectory


@functools.cache
def molecule_of(source: str | Path, forcefield: tuple[str, ...] = FORCEFIELD) -> Molecule:
    """Built once in each process, from a sequence or a file."""
    if isinstance(source, str):
        return molecule_from_sequence(source, forcefield=forcefield)
    return molecule_from_pdb(source, forcefield=forcefield)


def near(molecule: Molecule, n: int) -> jax.Array:
    """``(dim, n)`` float32 about the minimum of the energy."""
    flat = molecule.positions.reshape(-1, 1)
    noise = 0.003 * np.random.default_rng(0).normal(size=(len(flat), n))
    return jnp.asarray(flat + noise, jnp.float32)


def energy(args: argparse.Namespace) -> Cases:
    proteins = [(path, FORCEFIELD) for path in args.pdb]
    for source, forcefield in [(ALANINE, FORCEFIELD), *proteins, (ALANINE, OBC1)]:
        name = f"energy/{getattr(source, 'stem', source)}/{Path(forcefield[1]).stem}"
        case = functools.partial(energies, name, source, forcefield)
        yield f"{name}/exactness", functools.partial(exactness, name, source, forcefield)
        batches = (1000, 10_000, 100_000) if source == ALANINE else (64, 256, 1024)
        for batch in (64,) if args.quick else batches:
            yield name, functools.partial(case, batch)
    if args.quick:
        return
    for mib in (64.0, 256.0, 4096.0):  # of a chunk; jbg takes 1024 on what is no CPU
        for source, batch in [(ALANINE, 100_000), *((path, 256) for path in args.pdb[-1:])]:
            name = f"energy/{getattr(source, 'stem', source)}/obc2/chunks_of_{mib:.0f}_mib"
            yield name, functools.partial(energies, name, source, FORCEFIELD, batch, mib)


def exactness(name: str, source: str | Path, forcefield: tuple[str, ...]) -> None:
    """Of float32 on this device against OpenMM's double precision."""
    molecule = molecule_of(source, forcefield)
    frames = np.asarray(near(molecule, 16)).T.reshape(16, -1, 3).astype(float)
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    u, f = of_compiled(system, frames, jnp.float32)
    known_u, known_f = of_reference(system, frames)
    size = lambda f: np.sqrt((f**2).sum((1, 2)))
    report(f"{name}/error", np.max(np.abs(u - known_u)), "kJ/mol", batch=len(frames))
    off = np.max(size(f - known_f) / size(known_f))
    report(f"{name}/force_error", off, "relative L2", batch=len(frames))


def energies(
    name: str, source: str | Path, forcefield, batch: int, working_mib: float | None = None
) -> None:
    molecule = molecule_of(source, forcefield)
    potential, x = (
        compiled_potential(molecule.system_xml, working_mib=working_mib),
        near(molecule, batch),
    )
    calls = {"energy+gradient": energy_and_gradient(potential)}
    if working_mib is None:
        calls["energy"] = potential
    for call, function in calls.items():
        timing = time_compiled(function, x)
        settings = {"batch": batch, "atoms": len(molecule.positions)}
        report(f"{name}/{call}", batch / timing.seconds, "1/s", **settings, **timing.costs())


def md(args: argparse.Namespace) -> Cases:
    tests = [(ALANINE, n) for n in ((16,) if args.quick else (64, 1024, 8192))]
    for path in args.pdb:
        tests += [(path, n) for n in ((4,) if args.quick else (64, 512))]
    for method in (langevin_rate, hmc_rate):
        for source, chains in tests:
            name = f"md/{getattr(source, 'stem', source)}/{method.__name__}"
            if source == ALANINE or len(molecule_of(source).positions) < LARGE:
                yield name, functools.partial(method, source, chains, quick=args.quick)


def langevin_rate(source: str | Path, chains: int, *, quick: bool) -> None:
    molecule, steps = molecule_of(source), 20 if quick else 500
    potential, start = compiled_potential(molecule.system_xml), np.asarray(near(molecule, chains)).T
    config = LangevinConfig(n_steps=steps, stride=steps, timestep_ps=STEP_PS, friction=FRICTION)
    settings = {"masses": molecule.masses, "temperature": TEMPERATURE, "config": config}
    call = lambda: langevin(jax.random.key(0), potential, start, **settings).energies
    rate_of("langevin", molecule, call, chains, steps)


def hmc_rate(source: str | Path, chains: int, *, quick: bool) -> None:
    molecule, trajectories = molecule_of(source), 2 if quick else 60
    potential, start = compiled_potential(molecule.system_xml), np.asarray(near(molecule, chains)).T
    target = make_target(molecular_system(molecule, potential), TEMPERATURE)
    config = HmcConfig(n_steps=trajectories, stride=trajectories, n_burn_in=0, n_leapfrog=LEAPFROG)
    call = lambda: hmc_chains(jax.random.key(0), target, start, config=config, step=0.002)[0]
    rate_of("hmc", molecule, call, chains, trajectories * LEAPFROG)


def rate_of(method: str, molecule: Molecule, call: Callable, chains: int, steps: int) -> None:
    """Compile seconds: the first call less a later one."""
    begin = time.perf_counter()
    if not np.isfinite(call()).all():
        raise RuntimeError(f"{method}: a chain blew up, so the timing means nothing")
    first = time.perf_counter() - begin
    seconds = median_seconds(call)
    compile_seconds = round(max(0.0, first - seconds), 2)
    report(f"md/{molecule.name}/{method}", chains * steps / seconds, "chain steps/s", batch=chains,
           steps=steps, atoms=len(molecule.positions), compile_seconds=compile_seconds)  # fmt: skip


def coords(args: argparse.Namespace) -> Cases:
    for source in (*args.pdb[::-1], ALANINE):
        batches = (16,) if args.quick else (1024, 256) if source != ALANINE else (16_384, 1024)
        if source == ALANINE or len(molecule_of(source).positions) >= LARGE:
            for batch in batches:
                name = f"coords/{getattr(source, 'stem', source)}"
                yield (
                    name,
                    functools.partial(
                        bench_coords.bench, name, molecule_of(source), batch=batch, repeats=5
                    ),
                )
    yield "coords/machine", functools.partial(bench_coords.bench_machine, 5)
