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

Errors (`bar_equation`): generated samples are resampled in blocks, simulations by chains, n - 1 out of n,
which has the variance of n new ones. Intervals are Student's, with degrees of freedom after Welch and
Satterthwaite; on Gaussians with known Z they cover in 91-94 % of repeats, and they cover where the weights of a
state have tails so heavy that plain reweighting fails (`experiments/coverage.py`). Weights are in float64.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jbg.analysis.bar_equation import Solution, replicas_of, solve, student, with_error
from jbg.analysis.free_energy import FreeEnergyDifference
from jbg.interfaces import ConfigError
from jbg.reweighting import log_weights


class StateSamples(NamedTuple):
    """One state as the flow and as a simulation of exp(-u/tau) see it; the energies are the true ones."""

    generated_log_q: ArrayLike  # (n,) of the generated samples inside the state
    generated_u: ArrayLike  # (n,)
    n_generated: int  # of all generated samples, inside or not
    simulated_log_q: ArrayLike  # (n_chains, n_frames) of independent chains
    simulated_u: ArrayLike  # (n_chains, n_frames)
    simulated_inside: ArrayLike | None = None  # (n_chains, n_frames) bool, frames in it; None: all


class BarLogZ(NamedTuple):
    """ln of the integral of exp(-u/tau) over a state; the first three are None together, with a reason."""

    value: float | None
    stderr: float | None
    interval95: tuple[float, float] | None
    reason: str | None
    effective_generated: float  # Kish's number of generated samples that carry the estimate
    effective_simulated: float  # the same of frames, over their statistical inefficiency
    overlap: float  # in [0, 1]; 1 where flow and simulation are alike


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
    solution = _solved(samples, tau)
    diagnostics = solution[-3:]
    if solution.reason:
        return BarLogZ(None, None, None, solution.reason, *diagnostics)
    rng = np.random.default_rng(seed)
    (replicas,), variances = replicas_of([solution], rng, n_bootstrap, same_generator=False)
    error = with_error(solution.log_z, replicas, variances)
    return BarLogZ(*error, None, *diagnostics)


def bar_free_energy_difference(
    a: StateSamples,
    b: StateSamples,
    *,
    same_generator: bool,
    same_chains: bool = False,
    seed: int,
    tau: float = 1.0,
    n_bootstrap: int = 1000,
) -> FreeEnergyDifference:
    """F(B) - F(A) = -(ln Z_B - ln Z_A) in kT at temperature tau, each ln Z by `bar_log_z`.

    The simulations of A and B need not cross: each has to be in equilibrium within its state only. One flow may
    serve both states, or each its own.

    Args:
        a: samples of state A. b: the same of B; the states do not overlap.
        same_generator: whether the generated samples of both are parts of one set; more in A are then
            fewer in B, which counts in the error.
        same_chains: whether the frames of both are those of the same chains, which ``simulated_inside`` tells
            apart; the bootstrap then draws a chain with its frames in both.
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
    if same_chains and np.shape(a.simulated_u) != np.shape(b.simulated_u):
        raise ConfigError(
            "bar: with same_chains both states have the same frames, got arrays of"
            f" {np.shape(a.simulated_u)} and {np.shape(b.simulated_u)}"
        )
    solutions = [_solved(samples, tau) for samples in (a, b)]
    for name, solution in zip(("first", "second"), solutions, strict=True):
        if solution.reason:
            return FreeEnergyDifference(None, None, None, f"{solution.reason} in the {name} state")
    rng = np.random.default_rng(seed)
    (log_z_a, log_z_b), variances = replicas_of(
        solutions, rng, n_bootstrap, same_generator=same_generator, same_chains=same_chains
    )
    value = solutions[0].log_z - solutions[1].log_z
    return FreeEnergyDifference(*with_error(value, log_z_a - log_z_b, variances))


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
    half = student(variances, counts) * stderr
    return FreeEnergyDifference(value, stderr, (value - half, value + half))


def _checked(samples: StateSamples, tau: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-weights of generated ``(n,)`` and simulated samples ``(n_chains, n_frames)``, and which are inside."""
    shapes = [np.shape(array) for array in (*samples[:2], *samples[3:5])]
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
    inside = samples.simulated_inside
    inside = np.ones(shapes[2], bool) if inside is None else np.asarray(inside, bool)
    if inside.shape != shapes[2]:
        raise ConfigError(f"bar: simulated_inside must be {shapes[2]}, got {inside.shape}")
    if not np.isfinite(np.asarray(samples.simulated_u)[inside]).all():
        raise ConfigError("bar: simulated frames without finite energy; simulate exp(-u/tau)")
    generated = log_weights(samples.generated_u, samples.generated_log_q, tau=tau)
    simulated = log_weights(samples.simulated_u, samples.simulated_log_q, tau=tau)
    generated = np.where(np.isfinite(generated), generated, -np.inf)
    return generated, np.where(np.isfinite(simulated), simulated, np.inf), inside


def _solved(samples: StateSamples, tau: float) -> Solution:
    return solve(*_checked(samples, tau), samples.n_generated)
