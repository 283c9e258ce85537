"""Alanine dipeptide, ACE-ALA-NME, built from its sequence: the molecule study with no input file."""

from typing import Any

from jbg.studies.molecule import molecule
from jbg.studies.molecule import settings as molecule_settings
from jbg.studies.molecule import source as molecule_source
from jbg.studies.molecule.molecule import cost, evaluate, load, reference_difference
from jbg.studies.molecule.source import check_force_field

DESCRIPTION = "ACE-ALA-NME, AMBER ff14SB + OBC2 at 300 K, built from its sequence"
SEQUENCE, N_ATOMS = "ACE-ALA-NME", 22


def make_config(
    *,
    preset: str,
    seed: int,
    temperature: float = 300.0,
    forcefield=None,
    energies: str = "jax",
    data: str = "simulated",
    recipe: str = "own-samples",
) -> dict[str, Any]:
    """Options: temperature in K, forcefield (OpenMM files), energies ("jax", "openmm"), data ("simulated",
    "none"), recipe (`energy_recipes`).
    """
    from jbg.systems.molecule import FORCEFIELD, molecule_from_sequence

    forcefield = tuple(forcefield or FORCEFIELD)
    molecule_settings.check_temperature(temperature)
    molecule_settings.check_data(data, recipe)
    if forcefield != FORCEFIELD or energies != "jax":
        check_force_field(energies, molecule_from_sequence(SEQUENCE, forcefield=forcefield))
    options = {
        "temperature": float(temperature),
        "forcefield": list(forcefield),
        "energies": energies,
        "data": data,
        "recipe": recipe,
    }
    return molecule_settings.config("alanine-dipeptide", preset, seed, options, N_ATOMS)


def build(options: dict[str, Any]):
    """The molecule, from its sequence."""
    return molecule_source.build(options | {"sequence": SEQUENCE})


def describe(config: dict[str, Any], run=None) -> list[tuple[str, str]]:
    """(what, which): the molecule, as it is said before a run."""
    options = config["options"] | {"sequence": SEQUENCE}
    return molecule.describe(config | {"options": options}, run)


def simulate(run, *, quiet: bool) -> None:
    molecule.simulate(run, quiet=quiet, build=build)


__all__ = [
    "DESCRIPTION",
    "cost",
    "describe",
    "evaluate",
    "load",
    "make_config",
    "reference_difference",
    "simulate",
]
