"""Gated attention as the network of a coupling: each variable is a token, which knows where it is in the molecule.

The variables that a coupling reads are tokens with values; those that it moves are tokens without, told apart by
their embeddings, and each reads its own numbers out of its own token (Kim et al. 2023, section 3.4 and appendix).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jbg.flows.conditioners.attention import GatedAttentionUnit, ScaleNorm
from jbg.flows.conditioners.base import Conditioner
from jbg.flows.halves import Half
from jbg.interfaces import ConfigError, Key

EMBEDDING = 0.5  # standard deviation of each embedding at the start; a variable's features are about as large


class Tokens(NamedTuple):
    """What each variable of an event is; host arrays ``(dim,)`` of whole numbers >= 0.

    The variables are ordered [circular | linear], and the backbone comes first in each of the two.
    """

    place: np.ndarray  # along the chain; distances between places mean something
    residue: np.ndarray  # class of residue
    kind: np.ndarray  # class of coordinate: phi, psi, an angle at CA, ...
    n_circular: int
    n_backbone_circular: int
    n_backbone_linear: int

    @property
    def dim(self) -> int:
        return len(self.place)

    @property
    def n_linear(self) -> int:
        return self.dim - self.n_circular


def check_tokens(tokens: Tokens, what: str) -> None:
    """Checks that the arrays are of one length and hold whole numbers >= 0, and that the counts fit.

    Raises:
        ConfigError: names the field.
    """
    for name in ("place", "residue", "kind"):
        values = np.asarray(getattr(tokens, name))
        if values.shape != (tokens.dim,):
            raise ConfigError(
                f"{what}: tokens.{name} must be ({tokens.dim},) as place is, got {values.shape}: "
                "give one number for each variable"
            )
        if not np.issubdtype(values.dtype, np.integer) or (values < 0).any():
            raise ConfigError(
                f"{what}: tokens.{name} must hold whole numbers >= 0, got {values.dtype} "
                f"from {values.min(initial=0)}: number the classes from 0"
            )
    for name, n in (
        ("n_circular", tokens.dim),
        ("n_backbone_circular", tokens.n_circular),
        ("n_backbone_linear", tokens.n_linear),
    ):
        if not 0 <= getattr(tokens, name) <= n:
            raise ConfigError(
                f"{what}: tokens.{name} must be in 0..{n}, got {getattr(tokens, name)}: "
                f"count the variables of {tokens.dim} that are circular, and of each kind the backbone"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatedAttention:
    """Gated attention units on tokens (Hua et al. 2022; Kim et al. 2023); ``on(tokens)`` makes networks of them.

    Attributes:
        width: of the tokens between units. Not published; ours.
        query_width: of Q and K; even.
        value_width: of V and of the gates.
        dropout: share of the gates that are zero in training, where networks are given a key.
        n_units: attention units of each network. In all but the last, the variables that are read read each other.
        precision: of products of matrices and of attention. Parameters, sums of embeddings and the numbers that
            come out are float32 in either.

    Raises:
        ValueError: a width or the number of units is below 1, ``query_width`` is odd, or dropout is not in [0, 1).
    """

    width: int = 128
    query_width: int = 32
    value_width: int = 64
    dropout: float = 0.1
    n_units: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        for name in ("width", "query_width", "value_width", "n_units"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"GatedAttention: {name} must be 1 or more, got {getattr(self, name)}"
                )
        if self.query_width % 2:
            raise ValueError(f"GatedAttention: query_width must be even, got {self.query_width}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"GatedAttention: dropout must lie in [0, 1), got {self.dropout}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(
                f"GatedAttention: precision must be float32 or bfloat16, got {self.precision}"
            )

    def on(self, tokens: Tokens, among: Sequence[int] | np.ndarray | None = None) -> "OnTokens":
        """Makes the networks of couplings of an event with these tokens.

        Args:
            tokens: what each variable of the event is.
            among: the variables that the couplings read or move; the others get no embeddings. All by default.

        Raises:
            ConfigError: the tokens do not fit together.
        """
        check_tokens(tokens, "GatedAttention")
        among = np.arange(tokens.dim) if among is None else np.asarray(among, np.int32)
        return OnTokens(self, *_classes(tokens, among))


class _Rows(NamedTuple):
    """Tokens of some rows of the event, ``(n,)`` each: the place, and a row of each table of embeddings."""

    place: Array
    embeddings: tuple[Array, ...]


def _classes(tokens: Tokens, among: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Places ``(dim,)``, numbers of the classes that occur ``(3, dim)``, and how many of each do."""
    numbers, counts = [], []
    for values in (tokens.place, tokens.residue, tokens.kind):
        found, number = np.unique(np.asarray(values)[among], return_inverse=True)
        row = np.zeros(tokens.dim, np.int32)
        row[among] = number
        numbers.append(row)
        counts.append(len(found))
    return np.asarray(tokens.place, np.int32), np.stack(numbers), tuple(counts)


@dataclasses.dataclass(frozen=True)
class OnTokens:
    """`GatedAttention` with the tokens of an event: a `ConditionerConfig`."""

    settings: GatedAttention
    place: np.ndarray
    classes: np.ndarray
    n_classes: tuple[int, ...]

    def make(self, source: Half, moved: Half, n_params: int, order: Array) -> Conditioner:
        """The network of one coupling; only its inputs are kept for the gradient, all else is computed again.

        Raises:
            ConfigError: n_params is no number of parameters of splines.
        """
        settings = self.settings
        sizes = _n_params_of_each(moved, n_params)
        net = _Network(settings, source.n_circular, source.n_linear, moved, sizes, self.n_classes)
        rows = self._rows(source, order), self._rows(moved, order)

        @jax.jit  # what the parameters do not depend on is then left out
        def init(key):
            return net.init(key, jnp.zeros((source.n_features, 1)), *rows, None)["params"]

        @jax.checkpoint
        def apply(params, h, *, key=None):
            out = net.apply({"params": params}, h.reshape((len(h), -1)), *rows, key)
            return cast(Array, out).reshape((n_params, *h.shape[1:]))

        return Conditioner(init=init, apply=apply, random=settings.dropout > 0)

    def _rows(self, half: Half, order: Array) -> _Rows:
        variables = jnp.concatenate([order[half.circular], order[half.linear]])
        place, classes = jnp.asarray(self.place), jnp.asarray(self.classes)
        return _Rows(place[variables], tuple(row[variables] for row in classes))


def _n_params_of_each(moved: Half, n_params: int) -> tuple[int, int]:
    """Numbers that one circular and one linear variable take, of which a coupling tells the sum alone.

    Where it moves both, a spline on the circle takes two more than one on the line (a slope and a turn).
    """
    both = 2 if moved.n_circular and moved.n_linear else 0
    linear, rest = divmod(n_params - both * moved.n_circular, moved.n_circular + moved.n_linear)
    if rest:
        raise ConfigError(
            f"GatedAttention: {n_params} parameters cannot be shared by {moved.n_circular} circular and "
            f"{moved.n_linear} linear variables: move them by circular_spline and spline of as many bins"
        )
    return linear + both, linear


class _Network(nn.Module):
    """``(n_in, batch)`` -> ``(n_params, batch)``; the last layers are zero at first.

    Moved tokens read source tokens and not each other: they have no values, so in one unit nothing is lost. What
    they read is a sum over variables; a hidden layer (ours) on each token before its numbers lets these interact.
    """

    settings: GatedAttention
    n_circular: int
    n_linear: int
    moved: Half
    sizes: tuple[int, int]
    n_classes: tuple[int, ...]

    @nn.compact
    def __call__(self, h: Array, source: _Rows, moved: _Rows, key: Key | None) -> Array:
        settings, dtype = self.settings, self._dtype()
        sums = self._embeddings()
        # read: values and embeddings; moved: embeddings alone, so the same for every event until they have read
        x = self._features(h) + sums(source)[None]
        y = sums(moved)[None].astype(x.dtype)
        for i in range(settings.n_units):
            widths = settings.query_width, settings.value_width
            unit = GatedAttentionUnit(*widths, settings.dropout, dtype, name=f"unit_{i}")
            keys = (None, None) if key is None else jax.random.split(jax.random.fold_in(key, i))
            y = unit(y, moved.place, x, source.place, keys[0])
            if i < settings.n_units - 1:
                x = unit(x, source.place, x, source.place, keys[1])
        hidden = nn.Dense(settings.width, dtype=dtype, name="hidden")(ScaleNorm(name="norm")(y))
        return self._numbers(nn.silu(hidden))

    def _dtype(self) -> Any:
        return jnp.bfloat16 if self.settings.precision == "bfloat16" else None

    def _embeddings(self) -> Callable[[_Rows], Array]:
        """Rows -> the sum of their embeddings ``(n, width)``."""
        start = nn.initializers.normal(EMBEDDING)
        names = ("place", "residue", "kind")
        tables = [
            self.param(f"{name}_embedding", start, (n, self.settings.width))
            for name, n in zip(names, self.n_classes, strict=True)
        ]

        def sums(rows: _Rows) -> Array:
            found = [table[row] for table, row in zip(tables, rows.embeddings, strict=True)]
            return functools.reduce(jnp.add, found)

        return sums

    def _features(self, h: Array) -> Array:
        """Values as ``(batch, tokens, width)``: (cos, sin) of angles, linear variables as they are.

        The angle itself, which Kim et al. give too, jumps where the circle is cut, and the density with it.
        """
        n, width = self.n_circular, self.settings.width
        angles = jnp.stack([h[:n].T, h[n : 2 * n].T], -1)
        values = h[2 * n : 2 * n + self.n_linear].T[..., None]
        dense = lambda name: nn.Dense(width, use_bias=False, name=name)
        return jnp.concatenate([dense("circular")(angles), dense("linear")(values)], 1)

    def _numbers(self, hidden: Array) -> Array:
        """Read off each token, first number of all circular variables first, batch last."""
        n, batch = self.moved.n_circular, hidden.shape[0]
        found = []
        for name, tokens, size in zip(
            ("circular_out", "linear_out"), (hidden[:, :n], hidden[:, n:]), self.sizes, strict=True
        ):
            if tokens.shape[1]:
                found.append(self._out(name, tokens, size).reshape((-1, batch)))
        return jnp.concatenate(found)

    def _out(self, name: str, tokens: Array, size: int) -> Array:
        kernel = self.param(f"{name}_kernel", nn.initializers.zeros, (size, tokens.shape[-1]))
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (size,))
        out = jnp.einsum(
            "pw,bmw->pmb",
            kernel.astype(tokens.dtype),
            tokens,
            preferred_element_type=bias.dtype,
        )
        return out + bias[:, None, None]
