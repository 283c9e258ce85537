"""Compiled energies and forces against OpenMM's Reference platform, force by force; one JSON line each.

    python benchmarks/exactness.py --pdb FILE [--forcefield FF.xml SOLVENT.xml] [--frames 200]

Half of the frames come from short molecular dynamics, half are strongly distorted: displaced by Gaussian noise of
0.01 to 0.05 nm. The dynamics may have a faster solvent than the energies (--dynamics FF.xml implicit/obc2.xml).
In float64 the largest differences of energies (kJ/mol; relative where above 1e-4 kJ/mol) and of forces (L2,
relative to those of the same force); in float32, of the whole, with positions rounded for both: of energies over
the sum of the absolute energies of the single forces, and of forces relative in L2. Frames where OpenMM itself
gives NaN, as HCT without a positive Born radius, are counted and left out.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import openmm
from openmm import unit
from record import report

from jbg.systems.forcefield import compiled_potential
from jbg.systems.molecule import FORCEFIELD, Molecule, molecule_from_pdb, molecule_from_sequence

DISTORTIONS = (0.01, 0.02, 0.05)  # nm


def single_forces(system: openmm.System) -> dict[str, openmm.System]:
    """A System for each force of ``system``."""
    parts = {}
    for force in system.getForces():
        part = openmm.System()
        for i in range(system.getNumParticles()):
            part.addParticle(system.getParticleMass(i))
        part.addForce(openmm.XmlSerializer.clone(force))
        kind, name = type(force).__name__, force.getName()
        parts[kind if kind == name else f"{kind} {name}"] = part
    return parts


def of_reference(system: openmm.System, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    energies, forces = [], []
    for frame in frames:
        context.setPositions(frame)
        state = context.getState(energy=True, forces=True)
        energies.append(state.getPotentialEnergy()._value)
        forces.append(state.getForces(asNumpy=True)._value)
    return np.array(energies), np.array(forces)


def of_compiled(system: openmm.System, frames: np.ndarray, dtype) -> tuple[np.ndarray, np.ndarray]:
    x = jnp.asarray(frames.reshape(len(frames), -1).T, dtype)
    energy, pull_back = jax.vjp(jax.jit(compiled_potential(system)), x)
    (gradient,) = pull_back(jnp.ones_like(energy))
    return np.asarray(energy, float), -np.asarray(gradient, float).T.reshape(frames.shape)


def make_frames(molecule: Molecule, n: int, seed: int) -> np.ndarray:
    """``(n, atoms, 3)`` nm: molecular dynamics at 300 K, 1 fs, every 20 steps; then distorted frames of it."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    integrator = openmm.LangevinMiddleIntegrator(300, 10.0, 0.001)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform)
    context.setPositions(molecule.positions)
    context.setVelocitiesToTemperature(300, seed)
    integrator.step(200)
    frames = []
    for _ in range(n - n // 2):
        integrator.step(20)
        positions = context.getState(positions=True).getPositions(asNumpy=True)
        frames.append(positions.value_in_unit(unit.nanometer))
    frames, rng = np.array(frames), np.random.default_rng(seed)
    scale = np.resize(DISTORTIONS, n // 2)[:, None, None]
    return np.concatenate(
        [frames, frames[: n // 2] + scale * rng.normal(size=(n // 2, *frames.shape[1:]))]
    )


def molecule_of(pdb: Path | None, forcefield: list[str]) -> Molecule:
    if pdb is None:
        return molecule_from_sequence("ACE-ALA-NME", forcefield=forcefield)
    return molecule_from_pdb(pdb, forcefield=forcefield)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pdb", type=Path, help="alanine dipeptide unless given")
    parser.add_argument("--forcefield", nargs="+", default=FORCEFIELD)
    parser.add_argument("--dynamics", nargs="+", help="force field of the dynamics unless the same")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    molecule = molecule_of(args.pdb, args.forcefield)
    moving = molecule_of(args.pdb, args.dynamics) if args.dynamics else molecule
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    frames = make_frames(moving, args.frames, args.seed).astype(np.float32).astype(float)
    about = {"molecule": molecule.name, "atoms": molecule.topology.n_atoms}
    about |= {"forcefield": " ".join(args.forcefield), "frames": len(frames)}
    parts = single_forces(system)
    known = {name: of_reference(part, frames) for name, part in parts.items()}
    whole_u, whole_f = (sum(values) for values in zip(*known.values(), strict=True))
    kept = np.isfinite(whole_u) & np.isfinite(whole_f).all((1, 2))
    report("exactness/no_reference", int((~kept).sum()), "frames where OpenMM gives NaN", **about)
    frames, whole_u, whole_f = frames[kept], whole_u[kept], whole_f[kept]
    known = {name: (u[kept], f[kept]) for name, (u, f) in known.items()}
    size = lambda f: np.sqrt((f**2).sum((1, 2)))
    with jax.enable_x64(True):  # noqa: FBT003
        for name, part in parts.items():
            u, f = of_compiled(part, frames, jnp.float64)
            apart = np.abs(u - known[name][0])
            relative = apart / np.maximum(np.abs(known[name][0]), 1e-300)
            report(f"exactness/{name}/energy", float(np.max(apart)), "kJ/mol", **about)
            report(f"exactness/{name}/energy_relative", float(np.max(relative[apart > 1e-4], initial=0)),
                   "of frames further than 1e-4 kJ/mol off", **about)  # fmt: skip
            report(
                f"exactness/{name}/forces",
                float(np.max(size(f - known[name][1]) / size(known[name][1]))),
                "L2",
                **about,
            )
    u, f = of_compiled(system, frames, jnp.float32)
    scale = sum(np.abs(energy) for energy, _ in known.values())
    report(
        "exactness/float32/energy",
        float(np.max(np.abs(u - whole_u) / scale)),
        "of sum |U|",
        **about,
    )
    report(
        "exactness/float32/forces", float(np.max(size(f - whole_f) / size(whole_f))), "L2", **about
    )


if __name__ == "__main__":
    main()
