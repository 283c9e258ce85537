"""The map of jbg: every protocol that its parts meet at, and nothing else.

Two conventions hold everywhere.

**Features first.** The leading axis of an array is the event, every further axis is batch: one
configuration has shape ``(dim,)``, a batch of B of them ``(dim, B)``, and every function here takes both.
The batch on the minor axis is what lets a CPU vectorise splines and internal coordinates, and one
event needs no code of its own, so ``jax.jacrev`` and ``jax.vmap`` work unchanged. Arrays on disk and in
host code that users see are batch first, ``(n, atoms, 3)``; they are transposed at the rim. The classes below
check the leading axis whenever one of their functions is called, which in compiled code costs nothing: an array in
the other layout is refused with what to do.

**Bundles of functions are frozen dataclasses, bundles of arrays are NamedTuples.** Close over the
former, pass the latter through ``jit``.

Names: z latent, y internal coordinates, x flat Cartesian coordinates (nm), u reduced energy (kT).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array

Params = Any  # a pytree of arrays
Key = Array  # a typed PRNG key


class ConfigError(ValueError):
    """Something the user gave is wrong. The message is one line: what, where, what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class RunError(RuntimeError):
    """A run cannot go on (training diverged, disk full, no finite energies); one line, exit status 1."""


def check_event(x: Any, dim: int, what: str) -> None:
    """Checks that x is ``(dim, *batch)``.

    Raises:
        ConfigError: it is not; says how to transpose it where its last axis has the length.
    """
    shape = tuple(np.shape(x))
    if shape[:1] != (dim,):
        hint = ": features come first, pass x.T" if shape[-1:] == (dim,) else ""
        raise ConfigError(f"{what}: expected ({dim}, *batch), got {shape}{hint}")


def check_params_first(params: Any, x: Any, what: str) -> None:
    """Refuses an array in the place of the parameters with the parameters in its place.

    Raises:
        ConfigError: the two are swapped.
    """
    if hasattr(params, "shape") and isinstance(x, tuple | list | dict):
        raise ConfigError(f"{what}: expected (params, x), got an array as params: swap the two")


def check_count(n: Any, what: str) -> None:
    """Checks a number of samples.

    Raises:
        ConfigError: not a whole number of 0 or more.
    """
    whole = isinstance(n, int | np.integer)
    if not whole or n < 0:
        hint = "" if whole else ": pass an int"
        raise ConfigError(f"{what}: n must be a whole number >= 0, got {n}{hint}")


def check_key(key: Any, what: str) -> None:
    """Checks that a random key is one.

    Raises:
        ConfigError: a seed, or anything else that is no array.
    """
    if not isinstance(key, Array | np.ndarray):
        seed = key if isinstance(key, int) else 0
        raise ConfigError(
            f"{what}: expected a random key, got {key!r}: pass jax.random.key({seed})"
        )


def _checked(owner: Any, name: str, what: str, dim: int, position: int) -> None:
    """Puts a function that checks its array argument at ``position`` in place of the field ``name``."""
    given, mark = getattr(owner, name), (what, dim)
    if given is None or getattr(given, "checks", None) == mark:
        return

    @functools.wraps(given)
    def checking(*args, **kwargs):
        if len(args) > position:
            check_event(args[position], dim, f"{what}.{name}")
        return given(*args, **kwargs)

    vars(checking)["checks"] = mark  # `dataclasses.replace` passes the function on
    object.__setattr__(owner, name, checking)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bijector:
    """Invertible map; ``forward`` goes z -> x, latent to configuration.

    forward(params, z) -> (x, ln|det dx/dz|);  inverse(params, x) -> (z, ln|det dz/dx|)

    Shapes: z ``(dim_in, *batch)``, x ``(dim_out, *batch)``, log-determinants ``(*batch,)``. Each direction
    returns its own log-determinant. Maps without parameters use ``init = lambda key: ()``. A chain keeps its
    parts in ``links``, first one first, and its parameters are a tuple with one entry for each.

    keyed(key) -> the map whose networks draw (dropout) from ``key``, the same in both directions; None where
    nothing is random. ``forward`` and ``inverse`` themselves never are.

    forward_score(params, z, d ln p/dz) -> (x, ln|det dx/dz|, d ln q/dx), where the map has a way to carry the
    gradient of a log-density along that is cheaper than differentiating ``inverse`` (`flows.score`).
    """

    dim_in: int
    dim_out: int
    init: Callable[[Key], Params]
    forward: Callable[[Params, Array], tuple[Array, Array]]
    inverse: Callable[[Params, Array], tuple[Array, Array]]
    links: tuple["Bijector", ...] = ()
    forward_score: Callable[[Params, Array, Array], tuple[Array, Array, Array]] | None = None
    keyed: Callable[[Key], "Bijector"] | None = None

    def __post_init__(self):
        _checked(self, "forward", "Bijector", self.dim_in, 1)
        _checked(self, "inverse", "Bijector", self.dim_out, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseDistribution:
    """Distribution of the latent variables at relative temperature tau.

    sample(key, n, tau) -> z ``(dim, n)``;  log_prob(z, tau) -> ``(*batch,)``, normalised. The first
    ``n_circular`` variables are angles in [-pi, pi), the others lie on the line.
    """

    dim: int
    sample: Callable[..., Array]
    log_prob: Callable[..., Array]
    n_circular: int = 0

    def __post_init__(self):
        _checked(self, "log_prob", "BaseDistribution", self.dim, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """A named region of configuration space; ``contains(x)`` with x ``(dim, *batch)`` -> bool ``(*batch,)``.

    ``definition`` says the dividing surface in words, and is printed beside every free energy. ``contains`` works
    on numpy and JAX arrays alike. ``dim`` is that of x; the `System` that a state belongs to sets it.
    """

    name: str
    contains: Callable[[Any], Any]
    definition: str
    dim: int | None = None

    def __post_init__(self):
        if self.dim is not None:
            _checked(self, "contains", "State", self.dim, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectiveVariable:
    """A reaction coordinate: ``of(x)`` with x ``(dim, *batch)`` -> ``(*batch,)``, and the bounds it is studied in.

    ``of`` works on numpy and JAX arrays alike, and has a gradient.
    """

    name: str
    of: Callable[[Any], Any]
    bounds: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectivePlane:
    """Two reaction coordinates at once: ``of(x)`` with x ``(dim, *batch)`` -> ``(2, *batch)``, and the bounds of
    each. ``of`` has a gradient.
    """

    names: tuple[str, str]
    of: Callable[[Any], Any]
    bounds: tuple[tuple[float, float], tuple[float, float]]


class Topology(NamedTuple):
    """What coordinates and analysis need to know of a molecule (host arrays, atoms numbered from 0)."""

    elements: tuple[str, ...]  # chemical symbols, one per atom
    atom_names: tuple[str, ...]  # PDB names
    residue_names: tuple[str, ...]  # one per atom
    residue_ids: tuple[int, ...]  # one per atom, consecutive from 0
    bonds: np.ndarray  # (n_bonds, 2) int
    residue_numbers: tuple[str, ...] = ()  # one per atom, as in the user's file; empty: from 1

    @property
    def n_atoms(self) -> int:
        return len(self.elements)


class SignedPermutations(NamedTuple):
    """A group of linear symmetries, (g x)_i = sign_gi x_index(g, i); host arrays, the identity first.

    Volume preserving, closed under composition. Reflections of a box, exchange of equal particles.
    """

    index: np.ndarray  # (n_elements, dim) int
    sign: np.ndarray  # (n_elements, dim), 1 or -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """Physics without temperature: ``potential(x)`` with x ``(dim, *batch)`` -> energy ``(*batch,)``.

    ``potential`` works on numpy and JAX arrays alike.
    Energies are in ``energy_unit``: "kJ/mol" for molecules (x in nm, flat, atom-major: x0 y0 z0 x1 ...),
    "kT" for toy systems, whose reference temperature is 1. ``start`` holds known configurations, batch
    first ``(n, dim)``: one per metastable state that data are to be made in. ``log_z(tau)`` is ln of the integral
    of exp(-U/tau) where it is known in closed form or by quadrature.
    """

    name: str
    dim: int
    potential: Callable[[Any], Any]
    energy_unit: str
    start: np.ndarray
    states: tuple[State, ...] = ()
    collective_variable: CollectiveVariable | CollectivePlane | None = None
    topology: Topology | None = None
    log_z: Callable[[float], float] | None = None

    def __post_init__(self):
        _checked(self, "potential", "System", self.dim, 0)
        states = tuple(dataclasses.replace(state, dim=self.dim) for state in self.states)
        object.__setattr__(self, "states", states)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """Unnormalised density exp(-u(x)/tau); u = U/kT at the reference temperature, tau = T/T_ref.

    ``log_z(tau)`` is ln of the integral of exp(-u/tau) where it is known, else None.
    """

    dim: int
    # (dim, *batch), a numpy or JAX array -> (*batch,)
    reduced_energy: Callable[[Any], Array]
    log_z: Callable[[float], float] | None = None

    def __post_init__(self):
        _checked(self, "reduced_energy", "Target", self.dim, 0)


def check_target(target: Any, what: str) -> None:
    """Checks that a target is one.

    Raises:
        ConfigError: a System, or anything else without a reduced energy.
    """
    if isinstance(target, System):
        kelvin = ", temperature=300" if target.energy_unit == "kJ/mol" else ""
        raise ConfigError(
            f"{what}: expected a Target, got the System {target.name}: use jbg.make_target(system{kelvin})"
        )
    if not hasattr(target, "reduced_energy"):
        raise ConfigError(
            f"{what}: expected a Target, got {type(target).__name__}: use jbg.make_target(system)"
        )


Loss = Callable[[Params, Any, Key], tuple[Array, dict[str, Array]]]
"""loss(params, batch, key) -> (scalar, aux); ``aux`` is a flat dict of scalars to log."""
