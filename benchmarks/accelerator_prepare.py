"""Writes the file that `bench_accelerator` travels with; needs OpenMM and two minutes of a CPU."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import openmm
from accelerator_file import TEMPERATURE, Checks, Prepared, near, save_all
from bench_md import FRICTION, STEP_PS
from exactness import of_reference

from jbg.coords import ReducedFit, build_zmatrix, disulfides, fit_reduced, reduced_from_fit
from jbg.simulation.langevin import LangevinConfig, langevin
from jbg.studies.problem import to_v
from jbg.studies.protein.exchangeable import flips_of, rotors_of
from jbg.systems.forcefield import compiled_potential
from jbg.systems.forcefield.read import read_system
from jbg.systems.molecule import FORCEFIELD, Molecule, molecule_from_pdb, molecule_from_sequence

STRUCTURES = Path(__file__).parents[1] / "experiments" / "kim2023" / "structures"
IPQ = ("amber14/protein.ff15ipq.xml", "implicit/obc2.xml")
# name -> sequence or file, force field; the smallest first
MOLECULES = {
    "alanine_dipeptide": ("ACE-ALA-NME", FORCEFIELD),
    "chignolin": (STRUCTURES / "chignolin_1uao_exp.pdb", FORCEFIELD),
    "hp35": (STRUCTURES / "hp35_nle_2f4k_with_hydrogens.pdb", IPQ),
    "protein_g": (STRUCTURES / "protein_g_1pga_exp.pdb", FORCEFIELD),
    "bpti": (STRUCTURES / "bpti_1bpi_exp.pdb", FORCEFIELD),
}
STUDIED = "chignolin"  # gets reduced coordinates
CHAINS, STEPS = 16, 5000
CHECKED = 4  # frames


def prepare(path: Path, *, small: bool) -> None:
    """All molecules; ``small``: the two smallest, with less dynamics."""
    prepared = []
    for name, (source, forcefield) in list(MOLECULES.items())[: 2 if small else None]:
        build = molecule_from_sequence if isinstance(source, str) else molecule_from_pdb
        molecule = build(source, forcefield=forcefield)
        found = of_molecule(name, molecule)
        if name == STUDIED:
            fit, v = reduced(molecule, STEPS // 5 if small else STEPS)
            found = found._replace(fit=fit, v=v)
        prepared.append(found)
        print(f"{name}: {len(molecule.positions)} atoms, {' '.join(forcefield)}", flush=True)
    save_all(path, prepared)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def of_molecule(name: str, molecule: Molecule) -> Prepared:
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    prepared = Prepared(
        name=name,
        forcefield=" ".join(molecule.forcefield),
        terms=read_system(system),
        topology=molecule.topology,
        positions=molecule.positions,
        masses=molecule.masses,
        checks=Checks(*[np.zeros(0)] * 3),
    )
    frames = np.asarray(near(prepared, CHECKED)).T.reshape(CHECKED, -1, 3).astype(float)
    return prepared._replace(checks=Checks(frames, *of_reference(system, frames)))


def reduced(molecule: Molecule, steps: int) -> tuple[ReducedFit, np.ndarray]:
    """Reduced coordinates of a short simulation from the minimised structure, and its frames in them."""
    potential = compiled_potential(molecule.system_xml)
    start = np.repeat(molecule.positions.reshape(1, -1), CHAINS, axis=0)
    config = LangevinConfig(
        n_steps=steps, stride=steps // 100, timestep_ps=STEP_PS, friction=FRICTION
    )
    found = langevin(
        jax.random.key(0),
        potential,
        start,
        masses=molecule.masses,
        temperature=TEMPERATURE,
        config=config,
    )
    frames = found.positions[:, 20:].reshape(-1, *molecule.positions.shape)
    topology = molecule.topology
    zmatrix = build_zmatrix(topology, molecule.positions, closing=disulfides(topology))
    compiled = jax.jit(potential)
    energies = lambda x: np.asarray(compiled(jnp.asarray(x.reshape(len(x), -1).T, jnp.float32)))
    fit = fit_reduced(
        topology,
        zmatrix,
        frames,
        rotors=rotors_of(molecule, zmatrix, energies),
        flips=flips_of(molecule, zmatrix, energies),
    )
    coords = reduced_from_fit(topology, fit)
    v, _ = to_v(coords.bijector, frames.reshape(len(frames), -1))
    return fit, v.astype(np.float32)
