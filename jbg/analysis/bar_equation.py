"""The equation of the acceptance ratio solved for one state, with bootstrap replicas of its root.

Notation and equation as in `bar`. Arrays are log-weights -u/tau - ln q in float64; -inf is a generated sample
that weighs nothing, +inf a frame where q = 0. Chains may come and go between states, so that each holds its own
number of frames in the state; means over frames are then ratios of sums over chains.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit

from jbg.analysis.free_energy import MIN_EFFECTIVE, N_BLOCKS

MAX_INCONSISTENCY = 0.4  # of the two estimates of the overlap; 1 where there is none
N_BATCHES = 10  # of a chain, for its statistical inefficiency
_REACH, _N_GRID = 10.0, 81  # replicas are looked for within so many standard errors


class Solution(NamedTuple):
    """One state, solved: log-weights, the root, and what it rests on."""

    generated: np.ndarray  # (n,)
    simulated: np.ndarray  # (n_chains, n_frames)
    inside: np.ndarray  # (n_chains, n_frames) bool, which frames lie in the state
    n_generated: int
    log_r: float
    log_z: float
    reason: str | None
    effective_generated: float
    effective_simulated: float
    overlap: float


def solve(generated: np.ndarray, simulated: np.ndarray, inside: np.ndarray, n: int) -> Solution:
    """The root with the best r: the first round finds how correlated the frames are.

    Args:
        generated: log-weights of the generated samples inside the state, ``(n_inside,)``.
        simulated: the same of the frames, ``(n_chains, n_frames)``.
        inside: which frames lie in the state, ``(n_chains, n_frames)`` bool.
        n: all generated samples.
    """
    solution = Solution(generated, simulated, inside, n, math.nan, math.nan, None, 0.0, 0.0, 0.0)
    if np.count_nonzero(inside.any(axis=1)) < 2:
        return solution._replace(reason="a single chain gives no error; run two or more")
    frames = simulated[inside]
    finite = [values[np.isfinite(values)] for values in (generated, frames)]
    if min(map(len, finite)) < 2:
        return solution._replace(reason="no samples with finite weight")
    low, high = (extreme(np.concatenate(finite)) for extreme in (np.min, np.max))
    inefficiency = 1.0
    for _ in range(2):
        n_frames = frames.size / inefficiency
        log_r = math.log(n_frames / n)

        def excess(log_z, log_r=log_r):
            left = expit(generated - log_z + log_r).sum() / n
            return left - math.exp(log_r) * expit(log_z - log_r - frames).mean()

        # a clash makes the bracket as wide as its energy: hundreds of bisections
        bracket = (low - abs(log_r) - 50, high + abs(log_r) + 50)
        log_z, _ = brentq(excess, *bracket, xtol=1e-12, maxiter=10_000, full_output=True)
        from_simulation = expit(generated - log_z + log_r)
        from_flow = expit(log_z - log_r - frames)
        inefficiency = _inefficiency(from_flow, inside)
    kish = [t.sum() ** 2 / max(np.sum(t**2), 1e-300) for t in (from_simulation, from_flow)]
    effective = {"generated": float(kish[0]), "simulated": float(kish[1] / inefficiency)}
    first = from_simulation.sum()
    second = np.sum(from_simulation * (1 - from_simulation))
    second += n_frames * np.mean(from_flow * (1 - from_flow))
    reason = None
    for side, number in effective.items():
        if number < MIN_EFFECTIVE:
            need = f"need {MIN_EFFECTIVE:.0f}"
            reason = f"BAR rests on {number:.1f} effective {side} samples, {need},"
    if reason is None and abs(second / first - 1) > MAX_INCONSISTENCY:
        reason = "generated and simulated samples do not overlap"
    return solution._replace(
        log_r=log_r,
        log_z=float(log_z),
        reason=reason,
        effective_generated=effective["generated"],
        effective_simulated=effective["simulated"],
        overlap=float(min(1.0, (1 / len(generated) + 1 / n_frames) * first)),
    )


def _inefficiency(values: np.ndarray, inside: np.ndarray) -> float:
    """Frames that are worth one independent frame, from the spread of the means of N_BATCHES parts of each chain.

    More numbers than there are chains, so that r does not lean on simulations whose means agree by luck.

    Args:
        values: of the frames inside, ``(n_inside,)``, chain after chain.
        inside: which frames those are, ``(n_chains, n_frames)`` bool.
    """
    within = values.var()
    if within <= 1e-24 * np.mean(values) ** 2:  # all alike
        return 1.0
    chain, frame = np.nonzero(inside)
    n_batches = min(N_BATCHES, inside.shape[1])
    batch = chain * n_batches + frame * n_batches // inside.shape[1]
    count = np.bincount(batch)
    residuals = np.bincount(batch, values - values.mean())[count > 0]
    n = len(residuals)  # batches that hold frames
    if n < 2:
        return 1.0
    spread = np.sum(residuals**2) * n / (n - 1) / values.size
    return float(np.clip(spread / within, 1.0, max(count.max(), 1.0)))


def replicas_of(
    solutions: list[Solution],
    rng: np.random.Generator,
    n_bootstrap: int,
    *,
    same_generator: bool,
    same_chains: bool = False,
) -> tuple[list[np.ndarray], list[tuple[float, float]]]:
    """Bootstrap replicas of each ln Z, and the first-order variance of each source with its size.

    A replica that drew no chain with a frame in the state is NaN.

    Args:
        solutions: of `solve`, one for each state, all with a root.
        rng: draws blocks of generated samples, and whole chains.
        n_bootstrap: number of replicas.
        same_generator: whether the generated samples of all states are parts of one set; a replica then draws its
            blocks once for all states.
        same_chains: whether the frames of all states are those of the same chains; a replica then draws its
            chains once for all states.

    Returns:
        The replicas ``(n_bootstrap,)`` of each state. For each state in turn the variances due to its generated
        samples and to its chains, with the number of blocks and the effective number of chains that visit it.
    """
    found, sources = [], []
    none = np.zeros((n_bootstrap, 0), int)
    place, times, drawn, start = none[0], none, none, 0
    for k, s in enumerate(solutions):
        if k == 0 or not same_generator:
            n_blocks = min(s.n_generated, N_BLOCKS)
            place, start = rng.permutation(s.n_generated) % n_blocks, 0
            times = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_bootstrap)
        block = place[start : start + len(s.generated)]
        start += len(s.generated)
        n_chains = len(s.simulated)
        if k == 0 or not same_chains:
            even = np.full(n_chains, 1 / n_chains)
            drawn = rng.multinomial(n_chains - 1, even, size=n_bootstrap)
        chain, frames = np.nonzero(s.inside)[0], s.simulated[s.inside]
        held = np.bincount(chain, minlength=n_chains)

        def sides(log_z, s=s, block=block, n_blocks=n_blocks, chain=chain, frames=frames):
            """Sums by block of generated samples, and by chain of the frames inside."""
            d = s.generated - log_z + s.log_r
            by_block = np.bincount(block, expit(d), minlength=n_blocks) / s.n_generated
            by_chain = np.bincount(
                chain, expit(log_z - s.log_r - frames), minlength=len(s.simulated)
            )
            return by_block, math.exp(s.log_r) * by_chain

        by_block, by_chain = sides(s.log_z)
        step = 1e-3
        up, down = (
            np.sum(x) - np.sum(y) / len(frames)
            for x, y in (sides(s.log_z + e) for e in (step, -step))
        )
        slope = (up - down) / (2 * step)
        variance_generated = n_blocks * by_block.var(ddof=1) / slope**2
        # of a ratio: chains hold different numbers of frames
        residuals = (by_chain - held * by_chain.sum() / len(frames)) / len(frames)
        variance_simulated = n_chains / (n_chains - 1) * np.sum(residuals**2) / slope**2
        n_visitors = max(2.0, held.sum() ** 2 / np.sum(held**2))
        sources += [(variance_generated, n_blocks), (variance_simulated, n_visitors)]
        reach = max(_REACH * math.sqrt(variance_generated + variance_simulated), 1e-9)
        grid = np.linspace(s.log_z - reach, s.log_z + reach, _N_GRID)
        tables = [sides(log_z) for log_z in grid]
        excess = times @ np.stack([x for x, _ in tables], axis=1)
        n_drawn = (drawn @ held)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            excess -= drawn @ np.stack([y for _, y in tables], axis=1) / n_drawn
        found.append(np.where(n_drawn[:, 0] > 0, _roots(grid, excess), np.nan))
    return found, sources


def _roots(grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where each falling row of ``values`` ``(m, n_grid)`` crosses zero, ``(m,)``; ends are kept to."""
    i = np.clip(np.sum(values > 0, axis=1) - 1, 0, len(grid) - 2)
    rows = np.arange(len(values))
    left, right = values[rows, i], values[rows, i + 1]
    share = np.clip(left / np.where(left == right, 1.0, left - right), 0.0, 1.0)
    return grid[i] + share * (grid[1] - grid[0])


def with_error(
    value: float, replicas: np.ndarray, sources: list[tuple[float, float]]
) -> tuple[float, float, tuple[float, float]]:
    stderr = float(np.nanstd(replicas, ddof=1))
    half = student(*zip(*sources, strict=True)) * stderr
    return value, stderr, (value - half, value + half)


def student(variances, counts) -> float:
    """Student's 97.5 % point for a sum of independent errors (Welch and Satterthwaite)."""
    total = sum(variances)
    if total == 0:
        return float(stats.norm.ppf(0.975))
    share = sum((v / total) ** 2 / (n - 1) for v, n in zip(variances, counts, strict=True))
    return float(stats.t.ppf(0.975, 1 / share))
