"""The one file that `bench_accelerator` travels with: molecules as plain arrays, whose use needs no OpenMM.

`accelerator_prepare` writes it where OpenMM is. Read it with `load_all`. Where OpenMM is not installed, stand-ins
take its place while the compiled force field is imported, which needs its names and, for terms already read, none
of its functions.
"""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.coords import ReducedCoordinates, ReducedFit, reduced_from_fit
from jbg.interfaces import ConfigError, System, Target, Topology
from jbg.targets import make_target

OPENMM = ("openmm", "openmm.app", "openmm.app.internal", "openmm.app.internal.customgbforces")


class _StandIn(types.ModuleType):
    """A module whose every name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _stand_in() -> None:
    for name in OPENMM:
        sys.modules[name] = _StandIn(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])


HAS_OPENMM = importlib.util.find_spec("openmm") is not None
if not HAS_OPENMM:
    _stand_in()

from jbg.systems.forcefield import bonded  # noqa: E402
from jbg.systems.forcefield.born import BornModel, Neck  # noqa: E402
from jbg.systems.forcefield.pairs import PairMatrices  # noqa: E402
from jbg.systems.forcefield.potential import choose_blocks, energy_and_gradient  # noqa: E402
from jbg.systems.forcefield.read import Terms  # noqa: E402

KINDS = {
    kind.__name__: kind
    for kind in (bonded.Bonds, bonded.Angles, bonded.Torsions, bonded.Impropers, bonded.Maps)
}
TEMPERATURE = 300.0


class Checks(NamedTuple):
    """OpenMM's double precision on a few frames."""

    frames: np.ndarray  # (n, atoms, 3) nm
    energies: np.ndarray  # (n,) kJ/mol
    forces: np.ndarray  # (n, atoms, 3) kJ/mol/nm


class Prepared(NamedTuple):
    """A molecule that needs no OpenMM. ``fit`` and ``v``, frames ``(n, d)`` of the reduced coordinates, are None
    where there are none."""

    name: str
    forcefield: str
    terms: Terms
    topology: Topology
    positions: np.ndarray  # (atoms, 3) nm
    masses: np.ndarray  # (atoms,) dalton
    checks: Checks
    fit: ReducedFit | None = None
    v: np.ndarray | None = None


def potential_of(prepared: Prepared, working_mib: float | None = None):
    """As `compiled_potential` makes it of the same System."""
    terms = prepared.terms
    n_terms = sum(len(term.atoms) for term in terms.bonded)

    @jax.jit
    def forward(x: Array) -> tuple[Array, Array]:
        sizes = int(np.prod(x.shape[1:])), x.dtype.itemsize
        return energy_and_gradient(
            terms, x, choose_blocks(terms.n_atoms, *sizes, working_mib, n_terms)
        )

    @jax.custom_vjp
    def potential(x: Array) -> Array:
        return forward(x)[0]

    potential.defvjp(forward, lambda gradient, cotangent: (gradient * cotangent[None],))
    return potential


def target_of(prepared: Prepared) -> Target:
    """The Boltzmann density of all atoms at TEMPERATURE."""
    system = System(
        name=prepared.name,
        dim=3 * prepared.terms.n_atoms,
        potential=potential_of(prepared),
        energy_unit="kJ/mol",
        start=prepared.positions.reshape(1, -1),
        topology=prepared.topology,
    )
    return make_target(system, TEMPERATURE)


def coordinates_of(prepared: Prepared) -> ReducedCoordinates:
    return reduced_from_fit(prepared.topology, prepared.fit)


def near(prepared: Prepared, n: int) -> Array:
    """``(dim, n)`` float32 about the minimum of the energy; made on the device."""
    noise = jax.random.normal(jax.random.key(0), (prepared.positions.size, n), jnp.float32)
    return jnp.asarray(prepared.positions.reshape(-1, 1), jnp.float32) + 0.003 * noise


def save_all(path: Path, molecules: list[Prepared]) -> None:
    """Writes them; matrices of pairs in the single precision that they are used in."""
    arrays = {}
    for molecule in molecules:
        arrays |= _flat(molecule.name, molecule)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def _flat(name: str, value: Any) -> dict[str, np.ndarray]:
    """Arrays by path; the parts of a list are called after their place and class, None is left out."""
    if value is None:
        return {}
    if hasattr(value, "_fields"):
        parts = {f"{name}/{field}": getattr(value, field) for field in value._fields}
    elif isinstance(value, list):
        parts = {f"{name}/{i}.{type(part).__name__}": part for i, part in enumerate(value)}
    else:
        single = name.rsplit("/", 2)[-2:-1] == ["pairs"]
        return {name: np.asarray(value, np.float32) if single else np.asarray(value)}
    found = {}
    for path, part in parts.items():
        found |= _flat(path, part)
    return found


def load_all(path: Path) -> dict[str, Prepared]:
    """Molecules by name.

    Raises:
        ConfigError: there is no such file.
    """
    if not path.exists():
        raise ConfigError(
            f"bench_accelerator: expected a prepared file, got {path}, which does not exist: write it with "
            "--prepare on a machine with OpenMM"
        )
    tree: dict[str, Any] = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            *folders, last = name.split("/")
            at = tree
            for folder in folders:
                at = at.setdefault(folder, {})
            at[last] = arrays[name]
    return {name: _prepared(part) for name, part in tree.items()}


def _prepared(tree: dict[str, Any]) -> Prepared:
    terms, topology = tree["terms"], tree["topology"]
    parts = lambda of: [of[key] for key in sorted(of, key=_place)]
    kinds = [KINDS[key.split(".")[1]] for key in sorted(terms["bonded"], key=_place)]
    texts = ("elements", "atom_names", "residue_names", "residue_ids")
    fit = tree.get("fit")
    return Prepared(
        name=str(tree["name"]),
        forcefield=str(tree["forcefield"]),
        terms=Terms(
            int(terms["n_atoms"]),
            [_bundle(k, a) for k, a in zip(kinds, parts(terms["bonded"]), strict=True)],
            _bundle(PairMatrices, terms["pairs"]) if "pairs" in terms else None,
            [_bundle(BornModel, a) for a in parts(terms.get("born", {}))],
        ),
        topology=Topology(
            **{name: tuple(topology[name].tolist()) for name in texts}, bonds=topology["bonds"]
        ),
        positions=tree["positions"],
        masses=tree["masses"],
        checks=Checks(**tree["checks"]),
        fit=None if fit is None else ReducedFit(**fit),
        v=tree.get("v"),
    )


def _place(key: str) -> int:
    return int(key.split(".")[0])


def _bundle(kind: type, arrays: dict[str, Any]) -> Any:
    """A NamedTuple; a field that was None is missing, a number is an array without axes."""
    values = {}
    for field in kind._fields:
        value = arrays.get(field)
        if isinstance(value, dict):
            values[field] = _bundle(Neck, value)
        else:
            values[field] = value.item() if value is not None and value.ndim == 0 else value
    return kind(**values)
