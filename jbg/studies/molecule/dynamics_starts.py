"""Where chains of Langevin dynamics start: the minimised structure, or frames of the user, each minimised."""

import hashlib
from pathlib import Path

import numpy as np

from jbg.interfaces import ConfigError
from jbg.runs import Run
from jbg.studies.molecule.dynamics_plan import MdOptions
from jbg.studies.molecule.files import PDB
from jbg.studies.molecule.stored import StoredMolecule
from jbg.systems.handedness import handedness_in
from jbg.systems.molecule import minimised
from jbg.systems.openmm_energies import read_frames


def starts_digest(options: MdOptions) -> str | None:
    """SHA-256 of the file of starts, so that an edited one is another run; None without.

    Raises:
        ConfigError: no such file.
    """
    if options.starts is None:
        return None
    if not Path(options.starts).is_file():
        raise ConfigError(f"{options.starts}: no such trajectory file")
    return hashlib.sha256(Path(options.starts).read_bytes()).hexdigest()


def start_positions(run: Run, options: MdOptions, molecule: StoredMolecule) -> np.ndarray:
    """Positions ``(chains, 3 * atoms)`` in nm.

    Of more frames than chains some are taken, evenly spaced; fewer serve several chains in turn.

    Raises:
        ConfigError: frames of another molecule, of other handedness, or without a finite energy once minimised.
    """
    n = options.chains
    if options.starts is None:
        return np.repeat(molecule.positions.reshape(1, -1), n, axis=0)
    frames = read_frames(Path(options.starts), molecule)
    rows = np.unique(np.linspace(0, len(frames) - 1, min(n, len(frames))).astype(int))
    pdb = run.path / PDB
    known = handedness_in(pdb, molecule.positions)
    found = []
    for row in rows:
        where = f"{options.starts}, frame {row}"
        found.append(minimised(molecule.system_xml, frames[row], where))
        if handedness_in(pdb, found[-1]) != known:
            raise ConfigError(
                f"{where}: residues of other handedness than in {molecule.name}: leave it out"
            )
    return np.stack(found)[np.arange(n) % len(rows)].reshape(n, -1)
