"""Whether independent ladders (or chains) have forgotten where they started, from arrays alone.

Frames of a few ladders can agree with each other and all be wrong: ladders that share a start share
its bias, and a walker that travels through the temperatures need not cross a torsion's barrier. So
four things are asked of a free-energy difference between two states. Walkers crossed the boundary
between them, back and forth; split-R-hat of the states, and of the other slow torsions within each,
is small enough; ladders that started on one side agree with those that started on the other; and so
do the halves of the simulation. What R-hat says of the relaxation also decides how much of the
beginning is left out. Pure functions of host arrays; every array of a simulation is
``(ladders, frames)`` in order of time.

References: Gelman & Rubin 1992, doi:10.1214/ss/1177011136; Vehtari et al. 2021,
doi:10.1214/20-BA1221.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from jbg.analysis.free_energy import FreeEnergyDifference, reference_free_energy

MIN_CROSSINGS = 2  # of the boundary, per ladder on average: there and back
MAX_R_HAT = 1.35  # of what ladders started on both sides of
MAX_R_HAT_ONE_SIDE = 1.2  # of the rest: a start that all share biases them alike
MAX_LEFT_OUT = 0.5  # of the frames, at the beginning
CHANCE = 2.7e-3  # of refusing a sound simulation, by each comparison: three standard errors
"""Chosen on two-state jump processes: 16 ladders of 1, 2 and 6 walkers, shares of B 0.02 to 0.5, 3 to 48
relaxation times, starts on both sides or all in B. With them about 1 % of the accepted differences miss by more
than three standard errors, as many as of equilibrated ladders, and up to R-hat 1.5 no more. With R-hat of ladders
in place of walkers, and no frames left out: 3 % with six walkers, 24 % where all start in B."""


def split_r_hat(values: np.ndarray, walkers: np.ndarray | None = None) -> float:
    """sqrt((W (n - 1) / n + B) / W) over the halves of all chains, ``values (chains, frames)``.

    W is the mean variance within halves of n frames, B the variance of their means. About
    sqrt(1 + 1 / m) where each half is worth m independent frames, m = n / (2 relaxation times).
    Without rank normalisation, which is for heavy tails and changes nothing for an indicator: what
    is looked at here is bounded. 1 where nothing varies at all, infinite where only the means do or
    there are too few frames to tell.

    Args:
        values: ``(chains, frames)``.
        walkers: ``(chains, frames)`` int, for frames of a ladder of temperatures which walker each is of.
            The frames of one walker are then the chain, halves weighing what frames they have: swaps
            between walkers that sit in different states make a ladder look as if it mixed.
    """
    values = np.asarray(values, np.float64)
    n = values.shape[1] // 2
    if n < 2:
        return float("inf")
    halves = np.concatenate([values[:, :n], values[:, -n:]])
    chain = np.arange(len(halves))[:, None] + np.zeros(n, int)
    if walkers is not None:
        walkers = np.concatenate([walkers[:, :n], walkers[:, -n:]])
        chain = chain * (walkers.max() + 1) + walkers
    _, chain, counts = np.unique(chain, return_inverse=True, return_counts=True)
    chain, values = chain.ravel(), halves.ravel()
    if len(counts) == len(values):
        return float("inf")
    means = np.bincount(chain, values) / counts
    within = np.sum((values - means[chain]) ** 2) / (len(values) - len(counts))
    mean_count = len(values) / len(counts)
    between = np.sum(counts * (means - values.mean()) ** 2) / mean_count / (len(counts) - 1)
    if within == 0:
        return 1.0 if between == 0 else float("inf")
    return float(np.sqrt((mean_count - 1) / mean_count + between / within))


def crossings(in_a: np.ndarray, in_b: np.ndarray, walkers: np.ndarray) -> np.ndarray:
    """How often the walkers of each ladder changed between two states, ``(ladders,)`` int.

    Each walker is looked at where it is in either state among the frames, one after the other: that
    two walkers in different states swap is no crossing, and what one does unseen counts once.

    Args:
        in_a: ``(ladders, frames)`` bool.
        in_b: the same.
        walkers: ``(ladders, frames)`` int, which walker of the ladder each frame is of.
    """
    found = np.zeros(len(in_a), int)
    for ladder, (a, b, walker) in enumerate(zip(in_a, in_b, walkers, strict=True)):
        seen = np.flatnonzero(a | b)
        order = seen[np.argsort(walker[seen], kind="stable")]
        same = walker[order][1:] == walker[order][:-1]
        found[ladder] = np.sum(same & (b[order][1:] != b[order][:-1]))
    return found


def group_difference(values: np.ndarray, group: np.ndarray) -> tuple[float, float, float]:
    """Mean of ``values (n,)`` where ``group (n,)`` is true, minus that elsewhere; its standard error and
    degrees of freedom (Welch). Each group needs two."""
    groups = [np.asarray(values, np.float64)[group == side] for side in (True, False)]
    squares = np.array([g.var(ddof=1) / len(g) for g in groups])
    freedom = np.array([len(g) - 1 for g in groups])
    total = squares.sum()
    effective = total**2 / np.sum(squares**2 / freedom) if total > 0 else freedom.sum()
    return float(groups[0].mean() - groups[1].mean()), float(np.sqrt(total)), float(effective)


def checked_reference(
    in_a: np.ndarray,
    in_b: np.ndarray,
    *,
    walkers: np.ndarray,
    sides: Mapping[str, np.ndarray],
    own: str | None = None,
    slow: Mapping[str, np.ndarray] | None = None,
    names: tuple[str, str] = ("the first state", "the second state"),
    seed: int,
) -> FreeEnergyDifference:
    """F(B) - F(A) from the frames of independent ladders, or None with the reason why it cannot be trusted.

    What the simulation remembers of its start is left out (`remembered`). ``stderr`` is Student's: 1.96 of it are
    the 95 % interval, so that it may be used without regard to the number of ladders.

    Args:
        in_a: whether each frame lies in A, ``(ladders, frames)`` bool in order of time.
        in_b: the same for B.
        walkers: ``(ladders, frames)`` int, which walker of its ladder each frame is of.
        sides: for each torsion that some ladders started with turned, its name and ``(ladders,)`` bool, on
            which side each ladder started.
        own: the torsion of ``sides`` that A and B are the sides of; None: any of them.
        slow: functions of the configuration that have to relax within each state, name and
            ``(ladders, frames)``, such as the cosine and sine of a torsion.
        names: of the states.
        seed: of the bootstrap over ladders.
    """
    in_a, in_b = np.asarray(in_a, bool), np.asarray(in_b, bool)
    found = _estimate(in_a, in_b, seed)
    if found.value is None:
        return found
    two_sided = {name: side for name, side in sides.items() if _both(side)}
    dispersed = bool(two_sided) if own is None else own in two_sided
    limit = MAX_R_HAT if dispersed else MAX_R_HAT_ONE_SIDE
    r_hat = split_r_hat(_share_of_b(in_a, in_b), walkers)
    reason = (
        _too_few_crossings(crossings(in_a, in_b, walkers), names)
        or _too_large(r_hat, f"the share of {names[1]}", limit)
        or slow_within((in_a, in_b), names, slow or {}, walkers)
    )
    if reason is None:
        left_out = remembered(in_a, in_b, walkers)
        in_a, in_b = in_a[:, left_out:], in_b[:, left_out:]
        found = _estimate(in_a, in_b, seed)
        reason = (
            found.reason
            or _groups_differ(in_a, in_b, two_sided, names)
            or _halves_differ(in_a, in_b, seed)
        )
    if reason is not None or found.interval95 is None:
        return FreeEnergyDifference(None, None, None, reason)
    low, high = found.interval95
    return found._replace(stderr=0.5 * (high - low) / float(stats.norm.ppf(0.975)))


def remembered(in_a: np.ndarray, in_b: np.ndarray, walkers: np.ndarray) -> int:
    """How many frames of each ladder remember the start: the first min(R^2 - 1, MAX_LEFT_OUT) of them, R the
    split-R-hat of the states, about four relaxation times."""
    r_hat = split_r_hat(_share_of_b(in_a, in_b), walkers)
    return int(min(r_hat**2 - 1, MAX_LEFT_OUT) * in_a.shape[1])


def _estimate(in_a: np.ndarray, in_b: np.ndarray, seed: int) -> FreeEnergyDifference:
    return reference_free_energy(in_a.sum(1), in_b.sum(1), seed=seed)


def _share_of_b(in_a: np.ndarray, in_b: np.ndarray) -> np.ndarray:
    """What each frame adds to the share of B: the indicator of B less that share, zero in neither."""
    return within(in_b.astype(float), in_a | in_b)


def _both(side: np.ndarray) -> bool:
    return 2 <= np.sum(side) <= len(side) - 2


def _too_few_crossings(counts: np.ndarray, names: tuple[str, str]) -> str | None:
    if counts.sum() >= MIN_CROSSINGS * len(counts):
        return None
    return (
        f"{counts.sum()} crossings between {names[0]} and {names[1]} in {len(counts)} ladders, need "
        f"{MIN_CROSSINGS} per ladder: not equilibrated, simulate longer"
    )


def _groups_differ(in_a, in_b, sides: Mapping[str, np.ndarray], names) -> str | None:
    n_a, n_b = in_a.sum(1), in_b.sum(1)
    seen = n_a + n_b > 0
    share = n_b[seen] / (n_a + n_b)[seen]
    for torsion, side in sides.items():
        group = np.asarray(side, bool)[seen]
        if not _both(group):
            continue
        apart, error, freedom = group_difference(share, group)
        if abs(apart) > stats.t.ppf(1 - CHANCE / 2 / len(sides), freedom) * error:
            return (
                f"the ladders that started on either side of {torsion} spend {share[group].mean():.3f} and "
                f"{share[~group].mean():.3f} of their frames in {names[1]}, {abs(apart):.3f} +- {error:.3f} "
                "apart: not equilibrated, simulate longer"
            )
    return None


def _halves_differ(in_a: np.ndarray, in_b: np.ndarray, seed: int) -> str | None:
    n, half = in_a.shape[0], in_a.shape[1] // 2
    first, second = (
        _estimate(in_a[:, rows], in_b[:, rows], seed) for rows in (slice(half), slice(half, None))
    )
    if first.value is None or second.value is None:
        return None
    if first.stderr is None or second.stderr is None:
        return None
    apart, error = abs(first.value - second.value), np.hypot(first.stderr, second.stderr)
    if apart <= stats.t.ppf(1 - CHANCE / 2, n - 1) * error:
        return None
    return (
        f"the halves of the simulation differ by {apart:.2f} +- {error:.2f} kT: "
        "not equilibrated, simulate longer"
    )


def slow_within(
    states: Sequence[np.ndarray],
    names: Sequence[str],
    slow: Mapping[str, np.ndarray],
    walkers: np.ndarray,
) -> str | None:
    """The slowest of ``slow`` within any of the states, where it is too slow to be in equilibrium there.

    The bound is that of ladders that share a start: not every one of these has ladders on both of its sides.

    Args:
        states: whether each frame lies in it, ``(ladders, frames)`` bool in order of time, of each state.
        names: of the states.
        slow: name and values ``(ladders, frames)``.
        walkers: ``(ladders, frames)`` int, which walker of its ladder each frame is of.
    """
    found = [
        (split_r_hat(within(values, state), walkers), f"{what} within {name}")
        for name, state in zip(names, states, strict=True)
        if state.any()
        for what, values in slow.items()
    ]
    return _too_large(*max(found), MAX_R_HAT_ONE_SIDE) if found else None


def _too_large(r_hat: float, what: str, limit: float) -> str | None:
    if r_hat <= limit:
        return None
    return (
        f"split-R-hat of {what} is {r_hat:.2f}, need {limit} or less: "
        "not equilibrated, simulate longer"
    )


def within(values: np.ndarray, state: np.ndarray) -> np.ndarray:
    """What each frame adds to the mean of ``values`` within a state: zero outside, the deviation from that
    mean inside. Chains of equal length in place of the ragged frames of the state."""
    return np.where(state, values - values[state].mean(), 0.0)
