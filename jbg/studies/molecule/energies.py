"""Implementations of the energies of a molecule: its force field compiled to JAX, or OpenMM on the host.

All differences between the two are here; other modules use ``ENERGIES[options.energies]``.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from jax import Array

from jbg.runs import Run
from jbg.simulation.langevin import LangevinChains, langevin
from jbg.studies.molecule.dynamics_plan import MdPlan
from jbg.systems.forcefield import compiled_potential
from jbg.systems.forcefield.pool import CompiledPool
from jbg.systems.openmm_callback import openmm_potential
from jbg.systems.openmm_langevin import openmm_langevin
from jbg.systems.openmm_pool import ContextPool, default_platform
from jbg.systems.openmm_probe import open_pool, probe

Potential = Callable[[Array], Array]
Pool = CompiledPool | ContextPool
# (number of the block, positions, velocities or None) -> its frames
Propagate = Callable[[int, np.ndarray, np.ndarray | None], LangevinChains]


class Energies(Protocol):
    """One way to compute energies. ``system_xml`` is a serialised ``openmm.System``.

    Attributes:
        steps_per_second: of Langevin dynamics of 22 atoms on one core, all chains together; rough.
    """

    steps_per_second: float

    def check(self, system_xml: str) -> None:
        """Raises ConfigError for a force field that it cannot compute."""
        ...

    def potential(self, run: Run, system_xml: str, positions: np.ndarray) -> Potential:
        """Flat x ``(dim, *batch)`` nm -> kJ/mol, of training and sampling."""
        ...

    def pool(self, system_xml: str, masses: np.ndarray) -> Pool:
        """Runs trajectories of replica exchange; a context manager."""
        ...

    def langevin(self, run: Run, plan: MdPlan, system_xml: str, masses: np.ndarray) -> Propagate:
        """Langevin dynamics of the plan's chains, block by block.

        Args:
            run: gives keys and seeds.
            plan: chains, temperature, integrator, and frames in a block.
            system_xml: the System; its own masses play no part.
            masses: of the atoms ``(atoms,)``, dalton.
        """
        ...

    def langevin_evaluations(self, plan: MdPlan) -> int:
        """Energies of one chain in addition to one per step."""
        ...


class Compiled:
    """The force field compiled to JAX: a batch is one program on the device, in float32."""

    steps_per_second: float = 70_000

    def check(self, system_xml: str) -> None:
        compiled_potential(system_xml)

    def potential(self, run: Run, system_xml: str, positions: np.ndarray) -> Potential:
        del run, positions
        return compiled_potential(system_xml)

    def pool(self, system_xml: str, masses: np.ndarray) -> Pool:
        return CompiledPool(system_xml, masses=masses)

    def langevin(self, run: Run, plan: MdPlan, system_xml: str, masses: np.ndarray) -> Propagate:
        potential, key = compiled_potential(system_xml), run.key("langevin")

        def propagate(block: int, x: np.ndarray, v: np.ndarray | None) -> LangevinChains:
            return langevin(
                key,
                potential,
                x,
                masses=masses,
                velocities=v,
                first_frame=block * plan.block,
                temperature=plan.options.temperature,
                config=plan.integrator,
            )

        return propagate

    def langevin_evaluations(self, plan: MdPlan) -> int:
        return 2 * plan.n_blocks  # at the beginning of a block


class OnHost:
    """OpenMM: a thread or process with a Context for every core."""

    steps_per_second: float = 30_000

    def check(self, system_xml: str) -> None:
        del system_xml  # OpenMM made it

    def potential(self, run: Run, system_xml: str, positions: np.ndarray) -> Potential:
        """Contexts as a timing chose when the run first asked."""
        choice = run.manifest().get("openmm")
        if choice is None:
            # the platform decides the bits of every energy, so the molecule decides the platform; timing only
            # chooses the workers, which no result depends on
            platform = default_platform(len(positions))
            choice = probe(system_xml, positions, platforms=(platform,))
            run.note(openmm=choice)
        return openmm_potential(open_pool(system_xml, choice))

    def pool(self, system_xml: str, masses: np.ndarray) -> Pool:
        return ContextPool(system_xml, masses=masses)

    def langevin(self, run: Run, plan: MdPlan, system_xml: str, masses: np.ndarray) -> Propagate:
        def propagate(block: int, x: np.ndarray, v: np.ndarray | None) -> LangevinChains:
            n_chains = plan.options.chains
            seeds = [run.seed_for(f"langevin {block} {chain}") for chain in range(n_chains)]
            found = openmm_langevin(
                system_xml,
                x,
                masses=masses,
                velocities=v,
                seeds=seeds,
                temperature=plan.options.temperature,
                config=plan.integrator,
            )
            return LangevinChains(*found)

        return propagate

    def langevin_evaluations(self, plan: MdPlan) -> int:
        return plan.n_blocks * plan.block  # one for each frame


ENERGIES: dict[str, Energies] = {"jax": Compiled(), "openmm": OnHost()}
