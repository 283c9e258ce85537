"""Which variables of an event a coupling reads and which it moves."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Half:
    """Rows of the event that move together: slices of its circular and of its linear variables."""

    circular: slice
    linear: slice

    @property
    def n_circular(self) -> int:
        return self.circular.stop - self.circular.start

    @property
    def n_linear(self) -> int:
        return self.linear.stop - self.linear.start

    @property
    def n_features(self) -> int:
        return max(2 * self.n_circular + self.n_linear, 1)


def _split(start: int, n: int) -> tuple[slice, slice]:
    middle = start + (n + 1) // 2
    return slice(start, middle), slice(middle, start + n)


def circular_halves(n_circular: int) -> tuple[Half, Half]:
    """Two halves of the circular variables; linear ones take no part."""
    none = slice(n_circular, n_circular)
    first, second = _split(0, n_circular)
    return Half(circular=first, linear=none), Half(circular=second, linear=none)


def linear_halves(n_circular: int, n_linear: int) -> tuple[Half, Half]:
    """Two halves of the linear variables."""
    first, second = _split(n_circular, n_linear)
    return Half(circular=slice(0, 0), linear=first), Half(circular=slice(0, 0), linear=second)


def with_all_circular(half: Half, n_circular: int) -> Half:
    """``half`` and every circular variable: what stiff variables are conditioned on."""
    return dataclasses.replace(half, circular=slice(0, n_circular))
