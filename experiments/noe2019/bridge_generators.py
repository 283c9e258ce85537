"""One generator for one state of a bridge, and particles annealed from it to the Boltzmann density of the state.

Where the bridge closes no ring, a spline flow learns internal coordinates, its torsion among them, from frames of
replica exchange. A ring has no such coordinates: its state is learnt in mixed coordinates, from dynamics that
start from such frames.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from bridge import write_frames
from bridge_exchange import Frames

import jbg
from jbg.interfaces import Params, State
from jbg.sampling.annealing import anneal, anneal_back
from jbg.sampling.annealing_pilot import find_steps
from jbg.sampling.annealing_settings import Annealing
from jbg.studies import engine
from jbg.studies.annealed import annealer_of
from jbg.studies.dataset import Dataset
from jbg.studies.problem import Problem
from jbg.studies.protein.stages import make_stages
from jbg.systems.molecule import Molecule
from jbg.training import Checkpoints, run_stages

T0 = 300.0  # K, of the generators

Found = dict[str, np.ndarray]


@dataclass(frozen=True)
class Size:
    """Rounds of replica exchange within a state and for the reference, steps by example, particles and levels of
    the
    annealing; of a ring chains of dynamics and ps of each."""

    rounds: int
    reference: int
    steps: int
    particles: int
    levels: int
    chains: int
    ps: float


def annealed(
    generator: tuple[Problem, Params],
    state: State,
    back: np.ndarray,
    size: Size,
    seed: int,
    folder: Path,
) -> Found:
    """``log_w`` and ``u`` of particles ``(n,)`` with the ``block`` of each, ``log_w_back`` of frames that
    training did
    not see ``(ladders, m)``, and how many energies both took.

    Args:
        generator: a problem and parameters of its flow.
        state: outside of which particles have weight zero.
        back: the frames ``(ladders, m, dim)``.
        size: particles and levels.
        seed: of the annealing.
        folder: where blocks of particles are kept.
    """
    (problem, params), batch = generator, min(250, size.particles)
    settings = Annealing(
        n_particles=size.particles, batch=batch, n_levels=size.levels, n_leapfrog=8
    )
    annealer = annealer_of(problem, settings)
    k_steps, k_there, k_back = jax.random.split(jax.random.key(seed), 3)
    steps = find_steps(k_steps, params, annealer, folder=folder)
    say = lambda done: print(f"  {done} of {size.particles} particles", flush=True)
    found = anneal(k_there, params, annealer, steps, folder=folder, on_block=say)
    inside = np.asarray(state.contains(found.x.T))
    log_w_back = anneal_back(k_back, params, annealer, steps, back, folder=folder).log_w
    filled = -(-log_w_back.size // batch) * batch
    return {
        "log_w": np.where(inside, found.log_w, -np.inf),
        "u": found.u,
        "block": found.block,
        "log_w_back": log_w_back,
        "evaluations": np.array(settings.evaluations),
        "evaluations_back": np.array(filled * settings.evaluations_each),
    }


def open_chains(
    pdb: Path, molecule: Molecule, frames: Frames, size: Size, seed: int, folder: Path
) -> tuple[Problem, Params]:
    """A generator in internal coordinates, learnt from frames of a state.

    Args:
        pdb: file of the molecule.
        molecule: in the state.
        frames: of the state.
        size: steps.
        seed: of the training.
        folder: where checkpoints are kept.
    """
    data = Dataset.of_chains(frames.learn)._replace(u=frames.u.reshape(-1))
    problem = jbg.molecular_problem(molecule, data, temperature=T0)
    (by_example, *_) = jbg.make_plan("molecule", pdb=pdb).stages
    # all frames are learnt from: those kept for the estimate may choose no parameters
    stage = replace(by_example, steps=size.steps, eval_every=0, keep_best=False)
    k_init, k_train = jax.random.split(jax.random.key(seed))
    params = run_stages(
        (stage,),
        make_loss=problem.make_loss,
        params=problem.flow.init(k_init),
        data=jnp.asarray(problem.examples.rows),
        key=k_train,
        checkpoints=Checkpoints(folder / "checkpoints"),
    )
    return problem, params


def ring(
    pdb: Path, molecule: Molecule, frames: Frames, size: Size, seed: int, folder: Path
) -> tuple[Problem, Params]:
    """A generator in mixed coordinates, learnt from dynamics of all atoms that start from frames of a state.

    Args:
        pdb: file of the molecule.
        molecule: in the state.
        frames: of the state.
        size: chains and steps.
        seed: of dynamics and training.
        folder: where starts and the run are kept.
    """
    starts = folder / "starts.dcd"
    if not starts.exists():
        # ladders in turn: chains of every role start from all of them
        x = np.swapaxes(frames.learn, 0, 1).reshape(-1, frames.learn.shape[-1])
        rows = np.linspace(0, len(x) - 1, min(size.chains, len(x))).astype(int)
        write_frames(starts, molecule, x[rows])
    plan = jbg.make_plan(
        "protein", seed=seed, pdb=pdb, coordinates="mixed", within=0.0, anneal=0, starts=starts,
        strategy="own-samples",
    )  # fmt: skip
    md = replace(
        plan.data.dynamics.options, chains=size.chains, ns=size.ps / 1000, equilibrate_ps=4.0
    )
    data = replace(plan.data, dynamics=replace(plan.data.dynamics, options=md))
    # by example alone, with log-dispersion: reverse KL and own samples lose conformations, which annealing cannot
    # bring back; clashes it can cure, or give no weight
    stages = make_stages("own-samples", steps=size.steps, batch=256)[:1]
    run = jbg.open_run(folder / "run", replace(plan, data=data, stages=stages))
    engine.simulate(run)
    problem = engine.load_problem(run)
    engine.train(run, problem=problem)
    return problem, engine.load_params(run, problem)
