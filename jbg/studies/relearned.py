"""Learning again from corrected chains: they are new, exact data, drawn where the flow reaches by itself.

Each cycle makes chains with the flow as it is (`correctors`), adds their frames to the data, trains on all of
them, and keeps the new parameters if the likelihood of held-out frames rose. The first cycle that does not raise
it is the last. Where nothing was simulated their frames are the data, no frames are held out, and every cycle of
chains that have mixed is kept; of a rough flow (`CorrectionPlan.rough`) also the first ones, which few of its
samples have entered: it is a way to learn from energies alone.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jbg.analysis.chain_checks import Chains, accepted_share, refuse_all
from jbg.interfaces import Params
from jbg.runs import Run
from jbg.runs.progress import progress
from jbg.sampling.ladder_rungs import UnreachableError
from jbg.studies.balance import copies_for
from jbg.studies.chain_files import load_chains, make_chains
from jbg.studies.correction_plan import PILOT, CorrectionPlan
from jbg.studies.correctors import CORRECTORS, MIN_ACCEPTED, Basis
from jbg.studies.problem import Examples, Problem, to_v
from jbg.studies.training_run import train_stages
from jbg.training import from_named_arrays, named_arrays

FOLDER = "again"


class Cycle(NamedTuple):
    """One cycle: which chains, the samples that arrived, the mean -ln q of held-out frames before and after, and
    whether its parameters are kept; ``reason`` says what speaks against the chains, or why they are not kept."""

    corrector: str
    arrivals: int
    before: float | None
    after: float | None
    kept: bool
    reason: str = ""


def relearn_in(
    run: Run, plan: CorrectionPlan, problem: Problem, params: Params, *, quiet: bool
) -> None:
    """All cycles of the plan, going on where an earlier call stopped.

    Args:
        run: gives keys, and keeps what each cycle made under ``again/``.
        plan: number of cycles, chains and training.
        problem: the data, and the flow.
        params: of the flow as first trained.
        quiet: no progress bar.
    """
    examples = problem.examples
    for i in range(1, plan.cycles + 1):
        folder = f"{FOLDER}/{i}"
        if not run.holds(f"{folder}/cycle.json"):
            found, params = _cycle(run, plan, problem, examples, params, i, quiet=quiet)
            if found.kept:
                run.save_arrays(f"{folder}/params.npz", **named_arrays(params))
            run.write_json(f"{folder}/cycle.json", found._asdict())
        found = _load_cycle(run, i)
        if not found.kept:
            return
        params = from_named_arrays(params, run.load_arrays(f"{folder}/params.npz"))
        if i < plan.cycles:
            examples = _joined(problem, examples, run, folder, found.corrector, plan)


def cycles_of(run: Run, plan: CorrectionPlan | None) -> list[Cycle]:
    """The cycles that a run has made."""
    found = []
    for i in range(1, (plan.cycles if plan else 0) + 1):
        if not run.holds(f"{FOLDER}/{i}/cycle.json"):
            break
        found.append(_load_cycle(run, i))
    return found


def finished(run: Run, plan: CorrectionPlan | None) -> bool:
    """Whether no cycle is left to make."""
    made = cycles_of(run, plan)
    return plan is None or len(made) == plan.cycles or bool(made and not made[-1].kept)


def load_relearned(run: Run, plan: CorrectionPlan | None, params: Params) -> Params:
    """The parameters of the last cycle that was kept, or those given."""
    kept = [i for i, cycle in enumerate(cycles_of(run, plan), 1) if cycle.kept]
    if not kept:
        return params
    return from_named_arrays(params, run.load_arrays(f"{FOLDER}/{kept[-1]}/params.npz"))


def _load_cycle(run: Run, i: int) -> Cycle:
    return Cycle(**run.read_json(f"{FOLDER}/{i}/cycle.json"))


def _cycle(
    run: Run,
    plan: CorrectionPlan,
    problem: Problem,
    examples: Examples,
    params: Params,
    i: int,
    *,
    quiet: bool,
) -> tuple[Cycle, Params]:
    folder, nll = f"{FOLDER}/{i}", problem.heldout_nll()
    with progress(None, f"pilot of cycle {i}", total=0, quiet=quiet):
        basis = _basis(run, problem, params, i)
        corrector = "moves" if plan.rough and i == 1 else _corrector(plan, basis)
    short = plan.short
    before = float(nll(params)) if nll else None
    try:
        blocks = CORRECTORS[corrector](basis, short)
        make_chains(run, folder, blocks, f"chains of cycle {i}", quiet=quiet)
    except UnreachableError as error:
        return Cycle(corrector, 0, before, None, kept=False, reason=str(error)), params
    chains = load_chains(run, folder, corrector, short)
    seen = Chains(-chains.u - chains.log_q, chains.arrivals, chains.swaps, chains.walkers)
    _, reasons = refuse_all(seen, None, None)
    # what has not reached the target is nothing to learn from, but where nothing better is known
    if reasons and not (plan.rough and i < plan.cycles):
        return Cycle(
            corrector, chains.arrivals, before, None, kept=False, reason="; ".join(reasons)
        ), params
    more = _joined(problem, examples, run, folder, corrector, plan)
    best = nll is not None  # of what held-out frames would choose among
    stage = dataclasses.replace(plan.learning, name=f"again-{i}", keep_best=best)
    new = train_stages(
        run,
        (stage,),
        dataclasses.replace(problem, examples=more),
        params,
        key=run.key(f"learn again {i}"),
        folder=f"{folder}/checkpoints",
        quiet=quiet,
    )
    after = float(nll(new)) if nll else None
    kept = before is None or after is None or after < before
    reason = "; ".join(reasons) if kept else "the likelihood of held-out frames did not rise"
    return Cycle(corrector, chains.arrivals, before, after, kept, reason), new


def _basis(run: Run, problem: Problem, params: Params, i: int) -> Basis:
    """A pilot of the flow as it is, and the conformations that training knows."""
    known = (params, ())
    drawn = problem.draw(run.key(f"pilot {i}"), known, PILOT)
    x = problem.frames  # dispersed conformations, where nothing was simulated
    x = x[:: max(1, len(x) // PILOT)]
    good = np.isfinite(problem.log_probs(known, x, (1.0,))[0] + problem.reduced_energies(x))
    frames = x[good] if good.any() else None
    return Basis(
        problem=problem,
        params=known,
        key=run.key(f"chains of cycle {i}"),
        seed=run.seed_for(f"starts of cycle {i}"),
        samples=np.asarray(drawn.frames),
        log_w=np.asarray(drawn.log_w),
        frames=frames,
    )


def _corrector(plan: CorrectionPlan, basis: Basis) -> str:
    """As the plan says, or by the expected acceptance of fresh samples in place of held-out frames."""
    if plan.corrector in CORRECTORS:
        return plan.corrector
    problem, held = basis.problem, basis.problem.examples.heldout
    if not len(held):
        return "moves"
    x = np.asarray(problem.coords.forward((), jnp.asarray(held.T))[0]).T
    log_w = -problem.reduced_energies(x) - problem.log_probs(basis.params, x, (1.0,))[0]
    known = log_w[np.isfinite(log_w)]
    accepted = accepted_share(known, basis.log_w, basis.seed) if known.size else 0.0
    return "moves" if accepted >= MIN_ACCEPTED else "ladder"


def _joined(
    problem: Problem,
    examples: Examples,
    run: Run,
    folder: str,
    corrector: str,
    plan: CorrectionPlan,
) -> Examples:
    """The examples and the frames of the chains in ``folder``."""
    chains = load_chains(run, folder, corrector, plan.short)
    x = chains.x.reshape(-1, chains.x.shape[-1])
    v, log_det = to_v(problem.coords, x)
    u = np.float32(chains.u.ravel()) + log_det
    good = np.isfinite(v).all(1) & np.isfinite(u)
    old = examples.u if examples.u is not None else np.zeros(len(examples.train), np.float32)
    if not len(examples.heldout):  # conformations that sample no ensemble
        of = copies_for(problem.system.states, x[good], plan.balance)
        return examples._replace(train=v[good], u=u[good], copies=of(x[good]))
    copies = examples.copies
    if copies is not None and problem.copies_of is not None:
        copies = np.concatenate([copies, problem.copies_of(x[good])])
    return examples._replace(
        train=np.concatenate([examples.train, v[good]]),
        u=np.concatenate([old, u[good]]),
        copies=copies,
    )
