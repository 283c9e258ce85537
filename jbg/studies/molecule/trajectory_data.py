"""A data set from the trajectories of a user: frames checked, restored, with their energies, cut into blocks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg.interfaces import ConfigError
from jbg.reweighting import effective_samples
from jbg.simulation.restored_frames import Lost, restore, rigid_angles, rigid_bonds
from jbg.studies.dataset import Dataset
from jbg.studies.molecule.data_options import DataOptions
from jbg.studies.molecule.frame_faults import energy_faults, in_words
from jbg.studies.molecule.given_frames import check_molecule
from jbg.studies.molecule.stored import Built
from jbg.studies.molecule.trajectory_blocks import cut_into_blocks, roles
from jbg.studies.molecule.trajectory_plan import MOST_FRAMES
from jbg.studies.molecule.trajectory_reading import GivenFrames, lengths_of, read_frames
from jbg.systems.forcefield import compiled_potential
from jbg.systems.harmonic_bonds import harmonic_bonds
from jbg.systems.molecule import Molecule
from jbg.units import beta

COARSEST = 0.001  # nm; positions rounded to more have no energy to speak of
BATCH = 2000  # frames whose energies are computed at once

ReducedEnergy = Callable[[np.ndarray], np.ndarray]


class TrajectoryData(NamedTuple):
    """The data set, and what was done and left out in ``words``; ``files`` trajectories gave ``blocks`` blocks,
    and ``left_out`` frames of ``n_frames`` are not used because something is wrong with them. ``effective`` is the
    number of effective frames, of biased ones."""

    dataset: Dataset
    words: tuple[str, ...]
    files: int
    blocks: int
    n_frames: int
    left_out: int
    effective: float | None
    restored: int


def make_data(
    molecule: Built,
    given: GivenFrames,
    names: Sequence[str],
    reduced_energy: ReducedEnergy,
    *,
    temperature: float,
    seed: int,
) -> TrajectoryData:
    """Frames as read, as data.

    Args:
        molecule: that they are of.
        given: the frames.
        names: of the files.
        reduced_energy: of frames ``(n, atoms, 3)`` in nm, ``(n,)`` in kT.
        temperature: K.
        seed: of what restores them.

    Raises:
        ConfigError: too few frames, or constraints that cannot be undone.
    """
    words, where = list(given.words), names[0]
    lost, said = _lost(molecule, given, temperature, where)
    words += said
    restored = restore(reduced_energy, given.x, lost, seed=seed)
    faults = energy_faults(restored.u, given.x[0].size)
    good = faults == ""
    words += [f"left out {line}" for line in in_words(faults, given.file, given.frame, names)]
    if not good.any():
        raise ConfigError(
            f"{where}: no frame has a finite energy: give frames of this molecule, with the force field's atoms"
        )
    file = given.file[good]
    blocks = cut_into_blocks(np.bincount(file, minlength=len(names)).tolist(), where)
    unused = int(good.sum()) - len(blocks.rows)
    if unused:
        words.append(
            f"{unused} frames, the first of each trajectory, fill no block and are left out"
        )
    weight = np.ones(len(blocks.rows))
    if given.log_w is not None:
        log_w = given.log_w[good][blocks.rows]
        weight = np.exp(log_w - log_w.max())
        weight /= weight.mean()
    kinds = roles(blocks.n, weighted=given.log_w is not None)
    dataset = Dataset(
        x=restored.x[good][blocks.rows].reshape(len(blocks.rows), -1).astype(np.float32),
        chain=blocks.chain,
        tau=np.ones(len(blocks.rows)),
        role=kinds[blocks.chain],
        u=restored.u[good][blocks.rows],
        walker=np.zeros(len(blocks.rows), int),
        weight=weight,
        evaluations=restored.evaluations,
    )
    with np.errstate(divide="ignore"):
        effective = None if given.log_w is None else effective_samples(np.log(weight))
    return TrajectoryData(
        dataset,
        tuple(words),
        len(names),
        blocks.n,
        len(given.x) + given.left_out,
        given.left_out + int(np.sum(~good)),
        effective,
        restored=len(lost.bonds),
    )


def energies_of(reduced_energy: Callable, dim: int) -> ReducedEnergy:
    """Reduced energies of any number of frames, computed BATCH at a time by a JAX function of ``(dim, n)``."""
    compiled = jax.jit(reduced_energy)

    def energies(frames: np.ndarray) -> np.ndarray:
        flat = frames.reshape(len(frames), dim).astype(np.float32)
        pieces = (np.resize(flat[i : i + BATCH], (BATCH, dim)) for i in range(0, len(flat), BATCH))
        found = [np.asarray(compiled(jnp.asarray(piece.T)), np.float64) for piece in pieces]
        return np.concatenate(found)[: len(flat)]

    return energies


def trajectory_data(
    molecule: Molecule,
    files: str | Path | Sequence[str | Path],
    *,
    weights: str | Path | Sequence[str | Path] = (),
    topology: str | Path | None = None,
    temperature: float = 300.0,
    seed: int = 0,
) -> Dataset:
    """Trajectories of a molecule as data of `molecular_problem`: checked, whole, with energies, in blocks of time.

    Args:
        molecule: from `systems.molecule.molecule`.
        files: trajectories in any format that mdtraj reads, one for each chain.
        weights: of the frames of a biased simulation: ``.npy``, or a table with the bias in kJ/mol in a column
            such as ``metad.bias``; one for each trajectory, or one for all.
        topology: of the atoms in the files, where they hold more than the molecule.
        temperature: K.
        seed: of what is drawn anew: positions within what a file rounds to, and rigid bonds with hydrogen.

    Returns:
        Rows ``x (n, 3 * atoms)`` in nm with the ``chain``, reduced energy ``u`` and ``weight`` of each.

    Raises:
        ConfigError: files that are missing, unreadable or of another molecule, or constraints that cannot be
            undone.
    """
    check_molecule(molecule, temperature, "trajectory_data")
    chosen = DataOptions(
        data=files,  # pyright: ignore[reportArgumentType]
        weights=weights,  # pyright: ignore[reportArgumentType]
        topology=None if topology is None else Path(topology),
    )
    lengths = lengths_of(molecule, chosen.trajectories, chosen.topology)
    given = read_frames(
        molecule,
        chosen.trajectories,
        topology=chosen.topology,
        weights=chosen.weights,
        temperature=temperature,
        stride=-(-sum(lengths) // MOST_FRAMES),
    )
    potential, kt = compiled_potential(molecule.system_xml), beta(temperature)
    energies = energies_of(lambda x: kt * potential(x), 3 * molecule.topology.n_atoms)
    names = [path.name for path in chosen.trajectories]
    return make_data(molecule, given, names, energies, temperature=temperature, seed=seed).dataset


def _lost(
    molecule: Built, given: GivenFrames, temperature: float, where: str
) -> tuple[Lost, list[str]]:
    """What the frames do not tell, and that in words.

    Raises:
        ConfigError: rounded too coarsely, or constraints on more than bonds with hydrogen.
    """
    if given.precision > COARSEST:
        raise ConfigError(
            f"{where}: positions are rounded to {given.precision} nm, too coarse for energies: write the "
            f"trajectory with a precision of {COARSEST} nm or finer"
        )
    known = harmonic_bonds(molecule.system_xml, molecule.topology.bonds)
    elements = np.array(molecule.topology.elements)
    pairs, k = known.pairs, beta(temperature) * known.k
    rigid = rigid_bonds(given.x, pairs, k)
    light = elements[pairs] == "H"
    others = np.flatnonzero(rigid & ~light.any(axis=1))
    angles = _between_hydrogens(molecule)
    stiff = rigid_angles(given.x, angles)
    if others.size or stiff.any():
        what = "bonds between heavy atoms" if others.size else "angles between hydrogens"
        raise ConfigError(
            f"{where}: {what} are constrained; bonds with hydrogen alone can be undone: simulate with constraints "
            "on these (HBonds) or on nothing"
        )
    rows = np.flatnonzero(rigid)
    bonds = pairs[rows]
    bonds = np.where(light[rows][:, :1], bonds[:, ::-1], bonds)
    lost = Lost(given.precision, bonds, known.length[rows], k[rows])
    words = []
    if given.precision:
        words.append(
            f"positions are rounded to {given.precision} nm: drawn anew within that, by their energies"
        )
    if len(bonds):
        words.append(
            f"{len(bonds)} bonds with hydrogen are constrained: their lengths are drawn anew from their "
            "conditional distribution given all else"
        )
    return lost, words


def _between_hydrogens(molecule: Built) -> np.ndarray:
    """Angles H-X-H ``(m, 3)``, two of each centre."""
    topology = molecule.topology
    of: dict[int, list[int]] = {}
    for i, j in topology.bonds.tolist():
        for a, b in ((i, j), (j, i)):
            if topology.elements[b] == "H":
                of.setdefault(a, []).append(b)
    found = [(h[k], a, h[k + 1]) for a, h in of.items() for k in range(len(h) - 1)]
    return np.array(found, int).reshape(-1, 3)
