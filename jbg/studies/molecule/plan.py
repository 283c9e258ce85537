"""The plan of a molecular study, by preset and number of atoms: simulation, flow, stages, samples."""

import dataclasses
from typing import TypeVar

from jbg.flows import SplineFlowConfig
from jbg.losses import NLL, LogDispersion, OwnSamples
from jbg.sampling.flow_moves import FlowMoves
from jbg.sampling.latent_ladder import LatentLadder
from jbg.simulation.replica_exchange_config import HYDROGEN_MASS, suggested_config
from jbg.studies.correction_plan import CorrectionPlan
from jbg.studies.molecule.data_plan import ChainsPlan, ExchangePlan, HarmonicPlan
from jbg.studies.molecule.options import AlanineOptions, MoleculeOptions
from jbg.studies.molecule.recipes import energy_stages
from jbg.studies.molecule.trajectory_plan import TrajectoryPlan
from jbg.studies.study import Plan, Preset, SamplingPlan
from jbg.training import Stage

O = TypeVar("O", bound=MoleculeOptions | AlanineOptions)
DataPlan = ExchangePlan | HarmonicPlan | TrajectoryPlan
MolecularPlan = Plan[MoleculeOptions | AlanineOptions, DataPlan]
# without data nothing shows where a flow that learns alone has become too steep: there its floor is higher
FLOW, FLOOR_ALONE = SplineFlowConfig(floor=1e-3), 0.05
SMALL, LARGE = (
    30,
    45,
)  # atoms; from a few minutes of simulation on, and where reweighting needs 1e6 samples
ATOMS = 22  # of alanine dipeptide, on which times were measured
CYCLES = 3  # of learning from chains, where there is nothing else to learn from
BALANCE = 0.1  # least share of a state in the training data
COMPILING = 25.0  # seconds, of what surrounds the training and of each of its stages


def molecular_plan(
    study: str,
    options: O,
    preset: Preset,
    seed: int,
    *,
    n_atoms: int,
    sha256: str | None = None,
    trajectories: TrajectoryPlan | None = None,
) -> Plan[O, DataPlan]:
    """Every number of a study of a molecule.

    Args:
        study: name in the registry.
        options: choices of the user.
        preset: sizes.
        seed: seed of all random numbers.
        n_atoms: of the molecule.
        sha256: of its PDB file.
        trajectories: of the user, where the options name any.
    """
    if options.data != "none":
        data = trajectories or _exchange(preset, n_atoms, options.temperature, sha256)
        stages = _stages(preset, n_atoms)
    else:
        data = HarmonicPlan(n_frames=4000, chains=ChainsPlan(), atoms=n_atoms, sha256=sha256)
        stages = energy_stages(options.recipe, quick=preset == "quick")
    return Plan(
        study=study,
        preset=preset,
        seed=seed,
        options=options,
        data=data,
        # without data nothing shows a flow where it has become too steep
        flow=FLOW if options.data != "none" else dataclasses.replace(FLOW, floor=FLOOR_ALONE),
        stages=stages,
        sampling=SamplingPlan(n=_n_samples(preset, n_atoms), batch=2000),
        correction=_correction(options, preset, n_atoms),
    )


def _correction(
    options: MoleculeOptions | AlanineOptions, preset: Preset, n_atoms: int
) -> CorrectionPlan:
    """Chains with the time step of the simulation, in ps; more rounds where the flow is less of a help."""
    long = 1 if preset == "quick" else 4
    rounds, stride = (1200 * long, 2) if n_atoms <= LARGE else (4000 * long, 5)
    timestep = suggested_config(n_atoms, temperature=300.0).timestep_ps
    return CorrectionPlan(
        corrector=options.corrector,
        moves=FlowMoves(n_rounds=rounds, stride=stride, timestep=timestep),
        ladder=LatentLadder(n_rounds=500 * long, n_burn_in=100),
        cycles=options.relearn or (CYCLES if options.recipe == "chains" else 0),
        learning=dataclasses.replace(_by_example(preset, n_atoms), steps=600),
        balance=BALANCE,
        rough=options.recipe == "chains",
    )


def _exchange(preset: Preset, n_atoms: int, temperature: float, sha256: str | None) -> ExchangePlan:
    rounds, ladders, aside = {"quick": (1500, 32, 1 / 2), "full": (10000, 32, 1 / 2)}[preset]
    if n_atoms > SMALL and preset == "quick":
        # 2.5e4 frames to learn from, then 4e4: with fewer, larger molecules are learnt by heart
        rounds, ladders, aside = 1550 if n_atoms <= LARGE else 2400, 24, 1 / 4
    settings = suggested_config(
        n_atoms,
        temperature=temperature,
        n_ladders=ladders,
        n_rounds=rounds,
        n_burn_in=max(100, rounds // 10),
    )
    # of small molecules, as many ladders are set aside for estimates as training learns from and is watched by
    return ExchangePlan(
        exchange=settings,
        heldout=2 / ladders,
        aside=aside,
        balance=balance_of(preset),
        hydrogen_mass=HYDROGEN_MASS,
        atoms=n_atoms,
        sha256=sha256,
    )


def balance_of(preset: Preset) -> float:
    """Least share of a state in the training data; own samples would undo it."""
    return BALANCE if preset == "quick" else 0.0


def _n_samples(preset: Preset, n_atoms: int) -> int:
    """Large enough that an outlier of a few hundred mean weights rarely carries 10 % of a 2 % state."""
    if n_atoms <= SMALL:  # draws are the cheapest way to a small error
        return 2_000_000
    return 1_000_000 if preset == "full" or n_atoms <= LARGE else 100_000


def _stages(preset: Preset, n_atoms: int) -> tuple[Stage, ...]:
    """By example with the energies of the examples; then on own samples, which cost most of a training.

    Quick runs omit them: they raise the ESS fraction of alanine dipeptide from about 0.5 to 0.7 at ten times the
    cost, which a few more samples achieve as well.
    """
    by_example = _by_example(preset, n_atoms)
    return (by_example,) if preset == "quick" else (by_example, own_samples_stage(preset))


def _by_example(preset: Preset, n_atoms: int) -> Stage:
    """Likelihood and log-dispersion of frames; the best parameters by those held out."""
    return Stage(
        name="by-example",
        steps={"quick": 300, "full": 600}[preset] if n_atoms <= SMALL else 1000,
        batch_size=512,
        learning_rate=1e-3,
        losses=(NLL(dispersion=LogDispersion(10.0)),),
        ema=0.98,
        log_every=20,
        eval_every=100,
        keep_best=True,
    )


def own_samples_stage(preset: Preset) -> Stage:
    """Own samples with their energies, beside a little likelihood."""
    quick = preset == "quick"
    return Stage(
        name="by-example-and-energy",
        steps=3400 if quick else 50_000,
        batch_size=512,
        data_batch=128,
        learning_rate=1e-3,
        warmup=50,
        losses=(
            NLL(0.1 if quick else 0.03),
            OwnSamples(forward_kl=1.0, log_variance=0.3, flatten=0.5),
        ),
        clip_norm=5.0,
        e_high=50.0,
        ema=0.998 if quick else 0.999,
        log_every=20 if quick else 50,
        eval_every=500 if quick else 1000,
    )


def minutes(plan: MolecularPlan) -> float:
    """Order of magnitude, from figures measured on alanine dipeptide with a core or two, compilation included."""
    calls = 0
    if isinstance(plan.data, ExchangePlan):
        c = plan.data.exchange
        replicas = c.n_ladders * len(c.temperatures)
        calls = replicas * c.total_rounds * (c.n_steps + c.n_rotations)
    if isinstance(plan.data, TrajectoryPlan):
        calls = plan.data.evaluations
    ratio = plan.data.atoms / ATOMS
    samples = sum(stage.steps * stage.batch_size for stage in plan.stages)
    seconds = ratio**1.65 * calls / 60_000  # energies, with forces
    seconds += ratio**1.2 * (samples / 5_700 + plan.sampling.n / 20_000)  # mostly the flow
    correction = plan.correction
    if correction is not None and (plan.data.atoms > SMALL or correction.corrector != "auto"):
        seconds += ratio**1.2 * correction.evaluations / 60_000 + COMPILING
    if correction is not None and correction.cycles:
        chains = correction.short.chain_evaluations(correction.corrector) / 60_000
        learning = correction.learning.steps * correction.learning.batch_size / 5_700
        seconds += correction.cycles * (ratio**1.2 * (chains + learning) + 2 * COMPILING)
    seconds += COMPILING * (1 + len(plan.stages))
    return round(seconds / 60, 1)
