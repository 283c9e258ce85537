"""The plan of a molecular study, by preset and number of atoms: simulation, flow, stages, samples."""

import dataclasses
from typing import TypeVar

from jbg.flows import SplineFlowConfig
from jbg.losses import NLL, LogDispersion, OwnSamples
from jbg.simulation.replica_exchange_config import HYDROGEN_MASS, suggested_config
from jbg.studies.molecule.data_plan import ChainsPlan, ExchangePlan, HarmonicPlan
from jbg.studies.molecule.options import AlanineOptions, MoleculeOptions
from jbg.studies.molecule.recipes import energy_stages
from jbg.studies.study import Plan, Preset, SamplingPlan
from jbg.training import Stage

O = TypeVar("O", bound=MoleculeOptions | AlanineOptions)
MolecularPlan = Plan[MoleculeOptions | AlanineOptions, ExchangePlan | HarmonicPlan]
# without data nothing shows where a flow that learns alone has become too steep: there its floor is higher
FLOW, FLOOR_ALONE = SplineFlowConfig(floor=1e-3), 0.05
ATOMS = 22  # of alanine dipeptide, on which times were measured
COMPILING = 25.0  # seconds, of what surrounds the training and of each of its stages


def molecular_plan(
    study: str,
    options: O,
    preset: Preset,
    seed: int,
    *,
    n_atoms: int,
    sha256: str | None = None,
) -> Plan[O, ExchangePlan | HarmonicPlan]:
    """Every number of a study of a molecule.

    Args:
        study: name in the registry.
        options: choices of the user.
        preset: sizes.
        seed: seed of all random numbers.
        n_atoms: of the molecule.
        sha256: of its PDB file.
    """
    if options.data == "simulated":
        data = _exchange(preset, n_atoms, options.temperature, sha256)
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
        flow=FLOW if options.data == "simulated" else dataclasses.replace(FLOW, floor=FLOOR_ALONE),
        stages=stages,
        sampling=SamplingPlan(n=_n_samples(preset, n_atoms), batch=2000),
    )


def _exchange(preset: Preset, n_atoms: int, temperature: float, sha256: str | None) -> ExchangePlan:
    rounds, ladders = {"quick": (3000, 32), "full": (10000, 32)}[preset]
    if n_atoms > 30:  # an evaluation costs about n^1.7, and more temperatures are needed
        ladders = 16 if preset == "quick" else 32
        # rarer states need their 300 frames among those set aside
        rounds = max(300, round(rounds * (22 / n_atoms) ** (1 if preset == "quick" else 2)))
    settings = suggested_config(
        n_atoms,
        temperature=temperature,
        n_ladders=ladders,
        n_rounds=rounds,
        n_burn_in=max(100, rounds // 10),
    )
    # half of the ladders are set aside for estimates: as many as training learns from and is watched by
    return ExchangePlan(
        exchange=settings,
        heldout=2 / ladders,
        aside=1 / 2,
        hydrogen_mass=HYDROGEN_MASS,
        atoms=n_atoms,
        sha256=sha256,
    )


def _n_samples(preset: str, n_atoms: int) -> int:
    """Large enough that an outlier of a few hundred mean weights rarely carries 10 % of a 2 % state."""
    if preset == "full":
        return 1_000_000
    return 1_000_000 if n_atoms <= 30 else 100_000


def _steps(n: int, n_atoms: int) -> int:
    """Fewer steps for larger molecules, so that training takes about the same time."""
    shrink = min(1.0, (22 / n_atoms) ** 1.2)
    return max(100, round(n * shrink / 100) * 100)


def _stages(preset: str, n_atoms: int) -> tuple[Stage, ...]:
    """By example with the energies of the examples; then on own samples, which cost most of a training.

    Quick runs of small molecules omit them: they raise the ESS fraction of alanine dipeptide from about 0.5 to 0.7
    at ten times the cost, which a few more samples achieve as well.
    """
    by_example = Stage(
        name="by-example",
        steps=_steps(300 if preset == "quick" else 600, n_atoms),
        batch_size=512,
        learning_rate=1e-3,
        losses=(NLL(dispersion=LogDispersion(10.0)),),
        ema=0.98,
        log_every=20,
        eval_every=100,
        keep_best=True,
    )
    if preset == "quick" and n_atoms <= 30:
        return (by_example,)
    return by_example, own_samples_stage(preset, n_atoms)


def own_samples_stage(preset: str, n_atoms: int) -> Stage:
    """Own samples with their energies, beside a little likelihood."""
    quick = preset == "quick"
    return Stage(
        name="by-example-and-energy",
        steps=_steps(3400 if quick else 50_000, n_atoms),
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
        eval_every=(500 if _steps(3400, n_atoms) >= 500 else 100) if quick else 1000,
    )


def minutes(plan: MolecularPlan) -> float:
    """Order of magnitude, from figures measured on alanine dipeptide with a core or two, compilation included."""
    calls = 0
    if isinstance(plan.data, ExchangePlan):
        c = plan.data.exchange
        replicas = c.n_ladders * len(c.temperatures)
        calls = replicas * c.total_rounds * (c.n_steps + c.n_rotations)
    ratio = plan.data.atoms / ATOMS
    samples = sum(stage.steps * stage.batch_size for stage in plan.stages)
    seconds = ratio**1.65 * calls / 60_000  # energies, with forces
    seconds += ratio**1.2 * (samples / 5_700 + plan.sampling.n / 20_000)  # mostly the flow
    seconds += COMPILING * (1 + len(plan.stages))
    return round(seconds / 60, 1)
