"""Rows of data with more than coordinates: named columns after them, one list of names for whoever reads a batch.

"tau": the relative temperature that the configuration was simulated at. "u": its reduced energy, in the measure of
the coordinates beside it (`targets`: u(x) - ln|det dx/dv| for coordinates v of x).
"""

from collections.abc import Sequence

from jax import Array


def split_columns(batch: Array, columns: Sequence[str]) -> tuple[Array, dict[str, Array]]:
    """Coordinates ``(dim, n)`` and each named column ``(n,)`` of a batch ``(dim + len(columns), n)``."""
    dim = len(batch) - len(columns)
    return batch[:dim], dict(zip(columns, batch[dim:], strict=True))
