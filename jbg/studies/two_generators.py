"""Two generators for two states whose simulations never cross, and the free-energy difference of the states.

Noe et al. 2019, Fig. 6: one flow learns from data of state A, another from data of B. No configuration on the
way between them is ever needed, because the normalised density q of each flow makes ln Z of its state absolute.

Each flow is trained on the target restricted to its state. With the energy of the whole space both flows move to
the deepest state wherever the temperature lets them cross the barrier: nine in ten samples of the flow of B in the
Mueller-Brown potential were then in A at tau = 1. The wall of the restriction has no gradient for the reverse KL,
so stages should learn by example and from own reweighted samples (`losses.NLL`, `losses.OwnSamples`), which give
samples beyond the wall weight zero. Samples that leak out reduce the efficiency, not the accuracy: every estimate
accounts for the fraction Q_S of samples inside.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jbg.analysis import (
    FreeEnergyDifference,
    StateSamples,
    bar_free_energy_difference,
    kl_loss_difference,
    mean_weight_difference,
)
from jbg.interfaces import ConfigError, Key, Params, State, Target
from jbg.reweighting import log_weights, restrict_log_weights
from jbg.simulation.metropolis import metropolis
from jbg.studies.estimators import state_samples
from jbg.studies.problem import Problem
from jbg.targets import restrict
from jbg.training import Stage, run_stages

ESTIMATORS = ("bar", "reweighting", "kl losses")
ACCEPTANCE = 0.3  # that the step of simulations is brought to
FIRST_STEP = 0.1
_BURSTS, _BURST = 12, 100  # of moves, after each of which the step is corrected


class Drawn(NamedTuple):
    """Samples of one generator: x ``(n, dim)``, ln q and the true u, ``(n,)`` each (host arrays)."""

    x: np.ndarray
    log_q: np.ndarray
    u: np.ndarray


class Simulated(NamedTuple):
    """Frames of independent chains inside a state, ``(n_chains, n_frames, dim)``, and what they cost."""

    x: np.ndarray
    step: float
    evaluations: int


def only_state(problem: Problem, state: State) -> Problem:
    """The problem of one state alone: its data, and the target restricted to it.

    Raises:
        ConfigError: no data in the state.
    """

    def in_state(v: np.ndarray) -> np.ndarray:
        return np.asarray(state.contains(problem.coords.forward((), jnp.asarray(v.T))[0]))

    inside = lambda v: None if v is None else v[in_state(v)]
    whole = problem.examples
    found = whole._replace(
        train=inside(whole.train),
        heldout=inside(whole.heldout),
        hot=inside(whole.hot),
        u=None if whole.u is None else whole.u[in_state(whole.train)],
    )
    if not len(found.train) or (found.hot is not None and not len(found.hot)):
        raise ConfigError(
            f"two generators: no data in state {state.name!r}; simulate from a start in it"
        )
    return dataclasses.replace(problem, examples=found, target=_confined(problem.target, state))


def train_generator(key: Key, problem: Problem, stages: Sequence[Stage]) -> Params:
    """Parameters of ``problem.generator``, trained from nothing through the stages on the problem's data."""
    k_init, k_train = jax.random.split(key)
    params = run_stages(
        tuple(stages),
        make_loss=problem.make_loss,
        params=problem.flow.init(k_init),
        data=jnp.asarray(problem.examples.rows),
        key=k_train,
    )
    return params, ()


def draw(key: Key, problem: Problem, params: Params, *, n: int, tau: float = 1.0) -> Drawn:
    """Samples of the generator of a problem, whatever their energies.

    Args:
        key: of all blocks of ``problem.batch``; block i uses fold_in(key, i).
        problem: provides generator and energy.
        params: of ``problem.generator``.
        n: number of samples.
        tau: relative temperature of the base.
    """
    return Drawn(*problem.drawn(key, params, n, tau))


def simulate_state(
    key: Key,
    problem: Problem,
    state: State,
    *,
    tau: float = 1.0,
    n_chains: int = 16,
    n_steps: int = 5000,
    stride: int = 10,
) -> Simulated:
    """Metropolis of exp(-u/tau) confined to a state: independent chains from frames of its data.

    The step is brought to an acceptance of ACCEPTANCE, then a fifth of ``n_steps`` is left out.

    Args:
        key: PRNG key of all chains.
        problem: with data in the state, which the chains start from.
        state: region that no chain leaves.
        tau: relative temperature.
        n_chains, n_steps, stride: as in `metropolis`; n_steps of each chain after what is left out.

    Raises:
        ConfigError: as `metropolis`, or no data in the state.
    """
    k_start, k_step, k_first, k_rest = jax.random.split(key, 4)
    problem = only_state(problem, state)
    data = problem.examples.train
    rows = jax.random.choice(k_start, len(data), (n_chains,))
    x = problem.coords.forward((), jnp.asarray(data)[rows].T)[0].T
    target = problem.target
    step = FIRST_STEP * math.sqrt(tau)
    for i in range(_BURSTS):
        key_i = jax.random.fold_in(k_step, i)
        frames = metropolis(key_i, target, x, step=step, n_steps=_BURST, stride=1, tau=tau)
        moved = np.diff(np.asarray(frames), axis=1).any(axis=-1).mean()
        step *= math.exp(2 * (moved - ACCEPTANCE))
        x = frames[:, -1]
    run = functools.partial(metropolis, target=target, step=step, stride=stride, tau=tau)
    burn_in = stride * max(1, n_steps // (5 * stride))
    x = run(k_first, start=x, n_steps=burn_in)[:, -1]
    frames = run(k_rest, start=x, n_steps=n_steps)
    evaluations = n_chains * (_BURSTS * (_BURST + 1) + burn_in + n_steps + 2)
    return Simulated(np.asarray(frames), step, evaluations)


@functools.lru_cache(maxsize=16)
def _confined(target: Target, state: State) -> Target:
    """One object for each state: `metropolis` compiles once for each."""
    return restrict(target, state.contains)


def one_state(
    problem: Problem,
    params: Params,
    state: State,
    drawn: Drawn,
    simulated: np.ndarray,
    *,
    tau: float = 1.0,
) -> StateSamples:
    """A state as its generator and its simulation see it.

    Args:
        problem: provides generator and energy.
        params: of ``problem.generator``.
        state: the state.
        drawn: samples of the generator, inside the state or not.
        simulated: frames of chains confined to the state, ``(n_chains, n_frames, dim)``.
        tau: relative temperature of both.
    """
    inside = np.asarray(state.contains(drawn.x.T), bool)
    return state_samples(
        problem, params, simulated, log_q=drawn.log_q, u=drawn.u, inside=inside, tau=tau
    )


def differences(
    a: StateSamples, b: StateSamples, *, tau: float, seed: int
) -> dict[str, FreeEnergyDifference]:
    """F(B) - F(A) in kT at temperature tau by each of ESTIMATORS, from one generator for each state.

    "bar": acceptance ratio between generated and simulated samples (`bar_free_energy_difference`).
    "reweighting": ln Z_S = ln of the mean of w over all samples, w = 0 outside of S.
    "kl losses": the published estimate, the difference of the losses of training by energy
    (`kl_loss_difference`), each of the flow as it is inside its state, q / Q_S with Q_S the share of its
    samples there. Each loss is then ``-ln Z_S + KL(q_S || p_S)``, above F_S; where nothing leaks, it is
    the published loss. Its error leaves the two divergences out, and so does its interval. Training from own
    reweighted samples does not punish a rare clash, and a single one makes this mean useless (1e5 kT in the
    Mueller-Brown potential at tau = 1); BAR and the mean weights do not feel it.

    Args:
        a: samples of state A, from `one_state`.
        b: the same of B.
        tau: relative temperature of both.
        seed: of the bootstrap.
    """
    weights = [log_weights(s.generated_u, s.generated_log_q, tau=tau) for s in (a, b)]
    return {
        "bar": bar_free_energy_difference(a, b, same_generator=False, tau=tau, seed=seed),
        "reweighting": mean_weight_difference(
            *(_padded(w, s.n_generated) for w, s in zip(weights, (a, b), strict=True)), seed=seed
        ),
        "kl losses": kl_loss_difference(
            *(
                w + math.log(max(len(w), 1) / s.n_generated)
                for w, s in zip(weights, (a, b), strict=True)
            )
        ),
    }


def _padded(log_w: np.ndarray, n: int) -> np.ndarray:
    """Log-weights ``(n,)``: those of the samples inside, and -inf for all others."""
    inside = np.arange(n) < len(log_w)
    return restrict_log_weights(np.resize(log_w, n) if len(log_w) else np.zeros(n), inside)[0]


def convergence(
    problem: tuple[Problem, Problem],
    params: tuple[Params, Params],
    states: tuple[State, State],
    drawn: tuple[Drawn, Drawn],
    simulated: tuple[np.ndarray, np.ndarray],
    *,
    counts: Sequence[int],
    tau: float,
    seed: int,
) -> dict[int, dict[str, FreeEnergyDifference]]:
    """`differences` from the first n samples of each generator and the whole simulations, by n.

    Args:
        problem: provides generator and energy of state A, and of B.
        params: of the two generators.
        states: A and B.
        drawn: samples of each generator.
        simulated: frames of each state, ``(n_chains, n_frames, dim)``.
        counts: values of n, at most the number of samples.
        tau: relative temperature of samples and frames.
        seed: of the bootstrap.
    """
    found = {}
    for n in counts:
        a, b = (
            one_state(p, w, s, Drawn(*(part[:n] for part in d)), x, tau=tau)
            for p, w, s, d, x in zip(problem, params, states, drawn, simulated, strict=True)
        )
        found[n] = differences(a, b, tau=tau, seed=seed)
    return found
