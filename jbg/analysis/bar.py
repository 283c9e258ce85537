"""Free energies by the Bennett acceptance ratio (BAR) between generated and simulated samples.

Reweighting asks the flow to be good wherever the target is. BAR asks for overlap only: it uses samples of
the flow, whose normalised density q is known, and samples of a simulation that stays in one state, and
gives ln Z of that state,

    (1/r) <f(d)>_generated = <f(-d)>_simulated,   f(d) = 1 / (1 + exp(-d)),   d = -u/tau - ln q - ln Z_S + ln r

(Bennett, J. Comput. Phys. 22, 245, 1976), in which a generated sample outside the state counts as f = 0. That is
the same as BAR with q restricted to the state, q / Q_S, and Q_S the share of the generated samples inside,
and the error of the share is part of the bootstrap. The equation holds for every r; the variance is least
when r is the number of independent frames over that of generated samples. The difference of two states whose
simulations never cross is F(B) - F(A) = -(ln Z_B - ln Z_A); the flow, or a flow for each, is the bridge (Noe
et al. 2019, Fig. 6, with BAR in place of the difference of losses).

Errors: the generated samples are resampled in blocks and the simulation by chains, n - 1 out of n chains,
which has the variance of n new ones. Intervals are Student's, with degrees of freedom after Welch and
Satterthwaite. Weights are in float64.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit

from jbg.analysis.free_energy import MIN_EFFECTIVE, N_BLOCKS, FreeEnergyDifference
from jbg.interfaces import ConfigError
from jbg.reweighting import log_weights

MAX_INCONSISTENCY = 0.4  # of the two estimates of the overlap; 1 where there is none
N_BATCHES = 10  # of a chain, for its statistical inefficiency
_REACH, _N_GRID = 10.0, 81  # replicas are looked for within so many standard errors


class StateSamples(NamedTuple):
    """One state as the flow and as a simulation of exp(-u/tau) see it; the energies are the true ones."""

    generated_log_q: ArrayLike  # (n,) of the generated samples inside the state
    generated_u: ArrayLike  # (n,)
    n_generated: int  # of all generated samples, inside or not
    simulated_log_q: ArrayLike  # (n_chains, n_frames) of independent chains inside the state
    simulated_u: ArrayLike  # (n_chains, n_frames)


class BarLogZ(NamedTuple):
    """ln of the integral of exp(-u/tau) over a state; the first three are None together, with a reason."""

    value: float | None
    stderr: float | None
    interval95: tuple[float, float] | None
    reason: str | None
    effective_generated: float  # Kish's number of generated samples that carry the estimate
    effective_simulated: float  # the same of frames, over their statistical inefficiency
    overlap: float  # in [0, 1]; 1 where flow and simulation are alike


class _Solution(NamedTuple):
    """One state, solved: log-weights, the root, and what it rests on."""

    generated: np.ndarray  # (n,)
    simulated: np.ndarray  # (n_chains, n_frames)
    n_generated: int
    log_r: float
    log_z: float
    reason: str | None
    effective_generated: float
    effective_simulated: float
    overlap: float


def bar_log_z(
    samples: StateSamples, *, seed: int, tau: float = 1.0, n_bootstrap: int = 1000
) -> BarLogZ:
    """ln Z_S = ln of the integral of exp(-u/tau) over a state, by BAR through the flow's ln q.

    Args:
        samples: of the state. A generated sample without finite energy weighs nothing, a frame without
            finite ln q lies where q = 0.
        seed: of the bootstrap.
        tau: relative temperature of the simulation. The generated samples may come from any q, such as the
            flow with base variance tau, with ln q of that same q for both kinds of samples.
        n_bootstrap: replicas.

    Returns:
        ln Z_S with its error, or None with a reason: a single chain, fewer than MIN_EFFECTIVE effective
        samples on either side, or no overlap: a first- and a second-order estimate of it, equal in
        expectation, differ by more than MAX_INCONSISTENCY (Hahn and Then, Phys. Rev. E 81, 041117, 2010).

    Raises:
        ConfigError: for arrays that do not fit, or simulated frames without finite energy.
    """
    solution = _solve(samples, tau)
    diagnostics = solution[-3:]
    if solution.reason:
        return BarLogZ(None, None, None, solution.reason, *diagnostics)
    rng = np.random.default_rng(seed)
    (replicas,), variances = _replicas([solution], rng, n_bootstrap, same_generator=False)
    error = _with_error(solution.log_z, replicas, variances)
    return BarLogZ(*error, None, *diagnostics)


def bar_free_energy_difference(
    a: StateSamples,
    b: StateSamples,
    *,
    same_generator: bool,
    seed: int,
    tau: float = 1.0,
    n_bootstrap: int = 1000,
) -> FreeEnergyDifference:
    """F(B) - F(A) = -(ln Z_B - ln Z_A) in kT at temperature tau, each ln Z by `bar_log_z`.

    The simulations of A and B need not cross. One flow may serve both states, or each its own.

    Args:
        a: samples of state A. b: the same of B; the states do not overlap.
        same_generator: whether the generated samples of both are parts of one set; more in A are then
            fewer in B, which counts in the error.
        seed: of the bootstrap. tau, n_bootstrap: as in `bar_log_z`.

    Returns:
        The difference, or None with a reason that names the first or second state.

    Raises:
        ConfigError: as `bar_log_z`; or one generator that made two numbers of samples.
    """
    if same_generator and (
        a.n_generated != b.n_generated
        or np.size(a.generated_u) + np.size(b.generated_u) > a.n_generated
    ):
        raise ConfigError(
            "bar: with same_generator both states are disjoint parts of one set of n_generated samples, got"
            f" {np.size(a.generated_u)} of {a.n_generated} and {np.size(b.generated_u)} of {b.n_generated}"
        )
    solutions = [_solve(samples, tau) for samples in (a, b)]
    for name, solution in zip(("first", "second"), solutions, strict=True):
        if solution.reason:
            return FreeEnergyDifference(None, None, None, f"{solution.reason} in the {name} state")
    rng = np.random.default_rng(seed)
    (log_z_a, log_z_b), variances = _replicas(
        solutions, rng, n_bootstrap, same_generator=same_generator
    )
    value = solutions[0].log_z - solutions[1].log_z
    return FreeEnergyDifference(*_with_error(value, log_z_a - log_z_b, variances))


def kl_loss_difference(log_w_a: ArrayLike, log_w_b: ArrayLike) -> FreeEnergyDifference:
    """<J_KL(B)> - <J_KL(A)> of two generators, one for each state, in kT; Noe et al. 2019, Fig. 6.

    J_KL = E_q[u/tau + ln q] = -ln Z + KL(q || p) is the loss of training by energy with the entropy of the
    base left out. **This is a difference of two upper bounds**: it is F(B) - F(A) only where both flows
    miss their states by the same divergence, and the standard error knows nothing of that. Use
    `bar_free_energy_difference` for numbers.

    Args:
        log_w_a: -u/tau - ln q of the samples of generator A, ``(n,)``, the true energies.
        log_w_b: the same of generator B.

    Returns:
        The difference with the standard error of the two means, or None with a reason where a loss is
        not finite.
    """
    means, variances, counts = [], [], []
    for name, log_w in (("first", log_w_a), ("second", log_w_b)):
        loss = -np.asarray(log_w, np.float64)
        if loss.size < 2:
            return FreeEnergyDifference(None, None, None, f"fewer than two samples of the {name}")
        if not np.isfinite(loss).all():
            reason = f"{np.sum(~np.isfinite(loss))} samples of the {name} have no finite loss"
            return FreeEnergyDifference(None, None, None, reason)
        means.append(loss.mean())
        variances.append(loss.var(ddof=1) / loss.size)
        counts.append(loss.size)
    value, stderr = float(means[1] - means[0]), math.sqrt(sum(variances))
    half = _student(variances, counts) * stderr
    return FreeEnergyDifference(value, stderr, (value - half, value + half))


def _checked(samples: StateSamples, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-weights of generated ``(n,)`` and simulated samples ``(n_chains, n_frames)``."""
    shapes = [np.shape(array) for array in (*samples[:2], *samples[3:])]
    if shapes[0] != shapes[1] or shapes[2] != shapes[3] or list(map(len, shapes)) != [1, 1, 2, 2]:
        raise ConfigError(
            "bar: generated ln q and u must be (n,), simulated ones (n_chains, n_frames), got"
            f" {shapes[0]}, {shapes[1]}, {shapes[2]}, {shapes[3]}"
        )
    if not (shapes[0][0] <= samples.n_generated and tau > 0):
        raise ConfigError(
            f"bar: needs tau > 0 and no more samples inside than generated, got tau={tau} and"
            f" {shapes[0][0]} of {samples.n_generated}"
        )
    if not np.isfinite(samples.simulated_u).all():
        raise ConfigError("bar: simulated frames without finite energy; simulate exp(-u/tau)")
    generated = log_weights(samples.generated_u, samples.generated_log_q, tau=tau)
    simulated = log_weights(samples.simulated_u, samples.simulated_log_q, tau=tau)
    generated = np.where(np.isfinite(generated), generated, -np.inf)
    return generated, np.where(np.isfinite(simulated), simulated, np.inf)


def _solve(samples: StateSamples, tau: float) -> _Solution:
    """The root with the best r: the first round finds how correlated the frames are."""
    generated, simulated = _checked(samples, tau)
    n = samples.n_generated
    solution = _Solution(generated, simulated, n, math.nan, math.nan, None, 0.0, 0.0, 0.0)
    if len(simulated) < 2:
        return solution._replace(reason="a single chain gives no error; run two or more")
    finite = [values[np.isfinite(values)] for values in (generated, simulated)]
    if min(map(len, finite)) < 2:
        return solution._replace(reason="no samples with finite weight")
    low, high = (extreme(np.concatenate(finite)) for extreme in (np.min, np.max))
    inefficiency = 1.0
    for _ in range(2):
        n_frames = simulated.size / inefficiency
        log_r = math.log(n_frames / n)

        def excess(log_z, log_r=log_r):
            left = expit(generated - log_z + log_r).sum() / n
            return left - math.exp(log_r) * expit(log_z - log_r - simulated).mean()

        log_z = brentq(excess, low - abs(log_r) - 50, high + abs(log_r) + 50, xtol=1e-12)
        from_simulation = expit(generated - log_z + log_r)
        from_flow = expit(log_z - log_r - simulated)
        inefficiency = _inefficiency(from_flow)
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


def _inefficiency(values: np.ndarray) -> float:
    """Frames that are worth one independent frame, from the spread of the means of N_BATCHES parts of each chain.

    More numbers than there are chains, so that r does not lean on simulations whose means agree by luck.
    """
    n_batches = min(N_BATCHES, values.shape[1])
    length = values.shape[1] // n_batches
    within = values.var()
    if within == 0:
        return 1.0
    means = values[:, : length * n_batches].reshape(-1, length).mean(axis=1)
    return float(np.clip(length * means.var(ddof=1) / within, 1.0, length))


def _replicas(
    solutions: list[_Solution],
    rng: np.random.Generator,
    n_bootstrap: int,
    *,
    same_generator: bool,
) -> tuple[list[np.ndarray], list[tuple[float, int]]]:
    """Bootstrap replicas of each ln Z, and the first-order variance of each source with its size."""
    found, sources = [], []
    place, times, start = None, None, 0
    for s in solutions:
        if place is None or not same_generator:
            n_blocks = min(s.n_generated, N_BLOCKS)
            place, start = rng.permutation(s.n_generated) % n_blocks, 0
            times = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_bootstrap)
        block = place[start : start + len(s.generated)]
        start += len(s.generated)
        n_chains = len(s.simulated)
        drawn = rng.multinomial(n_chains - 1, np.full(n_chains, 1 / n_chains), size=n_bootstrap)

        def sides(log_z, s=s, block=block, n_blocks=n_blocks):
            """Sums by block of generated samples, means by chain; both sides of the equation."""
            d = s.generated - log_z + s.log_r
            by_block = np.bincount(block, expit(d), minlength=n_blocks) / s.n_generated
            by_chain = expit(log_z - s.log_r - s.simulated).mean(axis=1)
            return by_block, math.exp(s.log_r) * by_chain

        by_block, by_chain = sides(s.log_z)
        step = 1e-3
        up, down = (np.sum(x) - np.mean(y) for x, y in (sides(s.log_z + e) for e in (step, -step)))
        slope = (up - down) / (2 * step)
        variance_generated = n_blocks * by_block.var(ddof=1) / slope**2
        variance_simulated = by_chain.var(ddof=1) / n_chains / slope**2
        sources += [(variance_generated, n_blocks), (variance_simulated, n_chains)]
        reach = max(_REACH * math.sqrt(variance_generated + variance_simulated), 1e-9)
        grid = np.linspace(s.log_z - reach, s.log_z + reach, _N_GRID)
        tables = [sides(log_z) for log_z in grid]
        excess = times @ np.stack([x for x, _ in tables], axis=1)
        excess -= drawn @ np.stack([y for _, y in tables], axis=1) / (n_chains - 1)
        found.append(_roots(grid, excess))
    return found, sources


def _roots(grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where each falling row of ``values`` ``(m, n_grid)`` crosses zero, ``(m,)``; ends are kept to."""
    i = np.clip(np.sum(values > 0, axis=1) - 1, 0, len(grid) - 2)
    rows = np.arange(len(values))
    left, right = values[rows, i], values[rows, i + 1]
    share = np.clip(left / np.where(left == right, 1.0, left - right), 0.0, 1.0)
    return grid[i] + share * (grid[1] - grid[0])


def _with_error(
    value: float, replicas: np.ndarray, sources: list[tuple[float, int]]
) -> tuple[float, float, tuple[float, float]]:
    stderr = float(np.std(replicas, ddof=1))
    half = _student(*zip(*sources, strict=True)) * stderr
    return value, stderr, (value - half, value + half)


def _student(variances, counts) -> float:
    """Student's 97.5 % point for a sum of independent errors (Welch and Satterthwaite)."""
    total = sum(variances)
    if total == 0:
        return float(stats.norm.ppf(0.975))
    share = sum((v / total) ** 2 / (n - 1) for v, n in zip(variances, counts, strict=True))
    return float(stats.t.ppf(0.975, 1 / share))
