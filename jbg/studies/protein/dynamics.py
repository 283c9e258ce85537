"""Langevin dynamics of all atoms of a protein, which every kind of its coordinates is fitted to."""

from typing import NamedTuple

import numpy as np

from jbg.runs import Run
from jbg.studies.molecule.langevin_blocks import CHECKPOINT, FRAMES, run_blocks
from jbg.studies.molecule.stored import StoredMolecule
from jbg.studies.protein.data_plan import DynamicsPlan
from jbg.studies.protein.starts import roles_of
from jbg.units import beta

MOST_FITTED = 20_000  # frames that coordinates are fitted to


class Dynamics(NamedTuple):
    """Frames ``(chains, frames, 3 atoms)`` in nm with reduced energies and kinetic temperatures in K
    ``(chains, frames)``, and the role of each chain ``(chains,)`` (`dataset`)."""

    x: np.ndarray
    u: np.ndarray
    temperature: np.ndarray
    role: np.ndarray


def simulated(run: Run, plan: DynamicsPlan, molecule: StoredMolecule, *, quiet: bool) -> Dynamics:
    """All chains from beginning to end, resumed at the last checkpoint; the caller saves them, then calls
    `clean_up`.

    Args:
        run: where they are made.
        plan: chains and their roles.
        molecule: its force field.
        quiet: no progress bar.
    """
    frames, energies, temperatures = run_blocks(run, plan.dynamics, molecule, quiet=quiet)
    kt = beta(plan.dynamics.options.temperature)
    return Dynamics(np.asarray(frames), kt * energies, temperatures, roles_of(len(frames), plan))


def clean_up(run: Run) -> None:
    """Remove what `simulated` resumes from."""
    for name in (FRAMES, CHECKPOINT):
        run.remove(name)


def some_of(x: np.ndarray) -> np.ndarray:
    """Numbers of at most MOST_FITTED rows of x, in order."""
    n = len(x)
    if n <= MOST_FITTED:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:MOST_FITTED])
