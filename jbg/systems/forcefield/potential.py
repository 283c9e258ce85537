"""A molecular System as a pure JAX potential: any batch, any device, forces in closed form."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import openmm
from jax import Array

from jbg.interfaces import ConfigError
from jbg.systems.forcefield import bonded as b
from jbg.systems.forcefield.pairs import map_ahead, pair_energy_and_forces
from jbg.systems.forcefield.read import Terms, read_system

ENERGIES = {
    b.Bonds: b.bond_energy,
    b.Angles: b.angle_energy,
    b.Torsions: b.torsion_energy,
    b.Impropers: b.improper_energy,
    b.Maps: b.map_energy,
}
ARRAYS = 12  # of (block, atoms, chunk) that a block of pairs works on
PER_TERM = 40  # numbers that a bonded term keeps for its gradient
WORKING_MIB = {"cpu": 2.0}  # fits the cache of a core
WORKING_MIB_ELSEWHERE = 1024.0
CHUNKS = (128, 64)  # configurations at once on a CPU: of small molecules, of large
SMALL = 100  # atoms
EIGHT = 8  # numbers that a CPU takes at once


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How much is computed at once: atoms i of the pairs (i, j), and configurations."""

    atoms: int
    configurations: int


def compiled_potential(
    system: openmm.System | str,
    *,
    drop_constraints: bool = False,
    working_mib: float | None = None,
) -> Callable[[Array], Array]:
    """Potential energy of flat configurations, in pure JAX.

    ``potential(x)``: x ``(3 * atoms, *batch)`` nm -> ``(*batch,)`` kJ/mol, of x's dtype. Works under jit, vmap,
    grad and shard_map. Reverse mode computes energy and forces in one pass; forward mode is not available.
    Large batches are computed chunk by chunk: memory is that of x and of the forces, ``working_mib`` for pairs,
    and some 160 bytes for each bonded term and configuration of a chunk in float32.

    Energies are those of OpenMM to rounding, but for pairs closer than 2e-3 nm (float32) or 1e-5 nm (float64):
    they count as that far apart, so that energies and forces of overlapping atoms are huge and finite. For an
    atom without a positive Born radius (HCT of overlapping atoms; OpenMM's energy is NaN or means nothing) 1e10
    kJ/mol are added. A configuration whose energy is
    not finite gets +inf, and gradient zero where energy or gradient are not, as through the callback.

    Args:
        system: a System, or its XML; see `read_system` for the forces it may have.
        drop_constraints: whether constrained distances are left free.
        working_mib: working memory of a chunk, in MiB; None: 2 on a CPU, 1024 elsewhere.

    Raises:
        ConfigError: a System with forces, constraints, a box or cut-offs that cannot be compiled, or a working
            memory that is not positive.
    """
    whole = _deserialised(system) if isinstance(system, str) else system
    if working_mib is not None and not working_mib > 0:
        raise ConfigError(f"working memory must be positive, got {working_mib} MiB")
    terms = read_system(whole, drop_constraints=drop_constraints)
    dim = 3 * terms.n_atoms

    @jax.jit  # outside of any other jit, too, one program
    def forward(x: Array) -> tuple[Array, Array]:
        if x.ndim == 0 or x.shape[0] != dim:
            raise ValueError(f"compiled_potential: expected shape ({dim}, *batch), got {x.shape}")
        n_batch = math.prod(x.shape[1:])
        n_terms = sum(len(term.atoms) for term in terms.bonded)
        blocks = choose_blocks(terms.n_atoms, n_batch, x.dtype.itemsize, working_mib, n_terms)
        return energy_and_gradient(terms, x, blocks)

    @jax.custom_vjp
    def potential(x: Array) -> Array:
        return forward(x)[0]

    def backward(gradient: Array, cotangent: Array) -> tuple[Array]:
        return (gradient * cotangent[None],)

    potential.defvjp(forward, backward)
    return potential


def _deserialised(xml: str) -> openmm.System:
    try:
        return openmm.XmlSerializer.deserialize(xml)
    except (ValueError, openmm.OpenMMException) as error:
        raise ConfigError(f"not the XML of an OpenMM System: {error}") from error


def energy_and_gradient(terms: Terms, x: Array, blocks: Blocks) -> tuple[Array, Array]:
    """Energies ``(*batch,)`` and gradients like x ``(3 * atoms, *batch)``, chunk by chunk."""
    batch, n_batch = x.shape[1:], math.prod(x.shape[1:])
    of_chunk = functools.partial(_of_chunk, terms, block=blocks.atoms)
    flat, size = x.reshape(terms.n_atoms, 3, n_batch), blocks.configurations
    n_chunks = -(-n_batch // size) if n_batch else 0
    if n_chunks <= 1:
        energy, gradient = of_chunk(flat)
        return energy.reshape(batch), gradient.reshape(x.shape)
    size = min(
        size, EIGHT * -(-n_batch // (n_chunks * EIGHT))
    )  # chunks alike, so that none is half empty
    n_chunks = -(-n_batch // size)
    padded = jnp.pad(flat, ((0, 0), (0, 0), (0, n_chunks * size - n_batch)), mode="edge")
    chunks = jnp.moveaxis(padded.reshape(terms.n_atoms, 3, n_chunks, size), 2, 0)
    energy, gradient = map_ahead(of_chunk, chunks)
    gradient = jnp.moveaxis(gradient, 0, 2).reshape(len(x), -1)[:, :n_batch]
    return energy.reshape(-1)[:n_batch].reshape(batch), gradient.reshape(x.shape)


def choose_blocks(
    n_atoms: int, n_batch: int, bytes_per_number: int, working_mib: float | None, n_terms: int = 0
) -> Blocks:
    """Blocks whose arrays fit the working memory; off the CPU, where chunks are large, bonded terms too.

    Args:
        n_atoms: number of atoms.
        n_batch: number of configurations asked for.
        bytes_per_number: 4 or 8.
        working_mib: as for `compiled_potential`.
        n_terms: number of bonded terms.
    """
    platform = jax.default_backend()
    if working_mib is None:
        working_mib = WORKING_MIB.get(platform, WORKING_MIB_ELSEWHERE)
    numbers = max(1, int(working_mib * 2**20 / (ARRAYS * bytes_per_number)))
    if platform == "cpu":
        most = CHUNKS[n_atoms > SMALL]
    else:
        # one row of pairs at least, and the bonded terms
        most = max(1, ARRAYS * numbers // (ARRAYS * n_atoms + PER_TERM * n_terms))
    configurations = max(1, min(n_batch, most, numbers // n_atoms))
    return Blocks(
        atoms=max(1, min(n_atoms, numbers // (n_atoms * configurations))),
        configurations=configurations,
    )


def _of_chunk(terms: Terms, x: Array, *, block: int) -> tuple[Array, Array]:
    """Of positions ``(atoms, 3, n)``: ``(n,)`` and ``(atoms, 3, n)``."""

    def bonded(x: Array) -> Array:
        return sum((ENERGIES[type(t)](t, x) for t in terms.bonded), jnp.zeros(x.shape[2:], x.dtype))

    energy, pull_back = jax.vjp(bonded, x)
    (gradient,) = pull_back(jnp.ones_like(energy))
    for matrices, born in [(terms.pairs, None), *((None, model) for model in terms.born)]:
        energies, forces = pair_energy_and_forces(x, matrices, born, block)
        energy, gradient = energy + energies, gradient - forces
    energy = jnp.where(jnp.isfinite(energy), energy, jnp.inf)
    good = jnp.isfinite(energy) & jnp.isfinite(gradient).all((0, 1))
    return energy, jnp.where(good, gradient, 0)
