"""Studies small enough for tests: the presets' plans with few steps, few rounds, small networks."""

import dataclasses
from typing import Any

import numpy as np

from jbg.flows import MLP, RealNVPConfig, SplitFlowConfig
from jbg.sampling.flow_moves import FlowMoves
from jbg.sampling.latent_ladder import LatentLadder
from jbg.studies import engine
from jbg.studies.dimer import explored, umbrella
from jbg.studies.molecule.data_plan import ExchangePlan, HarmonicPlan
from jbg.studies.molecule.plan import DataPlan
from jbg.studies.protein.data_plan import SlicePlan
from jbg.studies.study import Plan
from jbg.training import Stage

MOVES = FlowMoves(
    n_rounds=12, n_burn_in=4, block=4, n_chains=16, n_leapfrog=2, n_fresh=2, n_turns=2
)
LADDER = LatentLadder(
    n_rounds=12,
    n_burn_in=4,
    block=4,
    n_walkers=48,
    n_fresh=96,
    n_leapfrog=2,
    step=0.02,
    overdrawn=8,
    max_rungs=20,
)
ROUNDS = 100  # of replica exchange, burn-in included
BATCH = 500  # samples drawn at once; also what an evaluation during training spends


def shrink(plan: Plan, steps: int = 40) -> Plan:
    """The same study with ``steps`` steps in each stage and 2000 samples."""
    sampling = dataclasses.replace(plan.sampling, n=2000, batch=BATCH)
    stages = tuple(_few(stage, steps) for stage in plan.stages)
    return dataclasses.replace(plan, stages=stages, sampling=sampling)


def _few(stage, steps: int):
    return dataclasses.replace(
        stage,
        steps=steps,
        log_every=10,
        eval_every=20,
        warmup=0,
        batch_size=max(32, 16 * n_taus(stage)),
        data_batch=16 if stage.data_batch else None,
        buffer=_small(stage.buffer) if stage.buffer else None,
    )


def n_taus(stage: Stage) -> int:
    return max(len(getattr(term, "taus", (1.0,))) for term in stage.losses)


def _small(buffer):
    few = {"n": 32, "every": 10, "capacity": 64}
    names = {field.name for field in dataclasses.fields(buffer)}
    return dataclasses.replace(buffer, **{k: v for k, v in few.items() if k in names})


def double_well(*, seed: int = 1, steps: int = 40, **options: Any) -> Plan:
    return _plane("double-well", seed, steps, options)


def mueller_brown(*, seed: int = 1, steps: int = 40, **options: Any) -> Plan:
    return _plane("mueller-brown", seed, steps, options)


def _plane(name: str, seed: int, steps: int, options: dict[str, Any]) -> Plan:
    plan = shrink(engine.make_plan(name, seed=seed, **options), steps)
    return dataclasses.replace(
        plan,
        data=dataclasses.replace(plan.data, n_steps=400, stride=2),
        flow=dataclasses.replace(plan.flow, n_blocks=1, conditioner=MLP(hidden=(8,)), n_bins=4),
    )


def molecule(name: str, *, seed: int = 1, steps: int = 40, **options: Any) -> Plan:
    plan = shrink(engine.make_plan(name, seed=seed, **options), steps)
    small = {
        "n_blocks": 1,
        "n_circular_blocks": 1,
        "conditioner": MLP(hidden=(8, 8)),
        "n_bins": 4,
        "unroll": 1,
    }
    flow = dataclasses.replace(plan.flow, **small)
    learning = _few(plan.correction.learning, steps)
    correction = dataclasses.replace(plan.correction, moves=MOVES, ladder=LADDER, learning=learning)
    data = _few_data(plan.data)
    return dataclasses.replace(plan, data=data, flow=flow, correction=correction)


def _few_data(data: DataPlan) -> DataPlan:
    if isinstance(data, HarmonicPlan):
        chains = dataclasses.replace(data.chains, n=4, left_out=10, steps=20, stride=5)
        return dataclasses.replace(data, n_frames=200, chains=chains)
    if not isinstance(data, ExchangePlan):
        return data
    ladder = data.exchange.temperatures
    exchange = dataclasses.replace(
        data.exchange,
        temperatures=(ladder[0], ladder[-1]),
        n_ladders=4,
        n_burn_in=40,
        n_rounds=ROUNDS - 40,
        n_steps=5,
        n_rotations=2,
    )
    return dataclasses.replace(data, exchange=exchange, aside=0.25)


def lj_dimer(*, seed: int = 1) -> Plan:
    return umbrella.shorten(engine.make_plan("lj-dimer", seed=seed))


def explored_dimer(*, seed: int = 1) -> Plan:
    return explored.shorten(engine.make_plan("lj-dimer-explored", seed=seed))


def protein(*, seed: int = 1, steps: int = 20, **options: Any) -> Plan:
    """Two residues between caps: 8 chains of dynamics, 8 ladders on the slice (unless the coordinates are mixed),
    64 annealed particles."""
    chosen = {"sequence": "ACE-SER-ALA-NME", "anneal": 64, "within": 0.2} | options
    plan = engine.make_plan("protein", seed=seed, **chosen)
    short = {"chains": 8, "ns": 0.001, "equilibrate_ps": 0.2, "stride_ps": 0.02}
    md = dataclasses.replace(plan.data.dynamics.options, **short)
    dynamics = dataclasses.replace(plan.data.dynamics, options=md, block=30)
    data = dataclasses.replace(plan.data, dynamics=dynamics)
    if isinstance(data, SlicePlan):
        sizes = {
            "n_ladders": 8,
            "n_rounds": 60,
            "n_burn_in": 40,
            "block": 20,
            "stride": 2,
            "n_leapfrog": 4,
        }
        ladder = dataclasses.replace(data.ladder, taus=(1.0, 1.5), **sizes)
        data = dataclasses.replace(data, ladder=ladder)
    flow = _small_flow(plan.flow)
    annealing = plan.annealing and dataclasses.replace(plan.annealing, batch=32, n_levels=4)
    stages = tuple(_few(stage, steps) for stage in plan.stages)
    sampling = dataclasses.replace(plan.sampling, n=300, batch=100)
    return dataclasses.replace(
        plan, data=data, flow=flow, stages=stages, sampling=sampling, annealing=annealing
    )


def _small_flow(flow):
    if isinstance(flow, RealNVPConfig):
        return RealNVPConfig(n_blocks=2, hidden=(16, 16))
    if isinstance(flow, SplitFlowConfig):
        net = dataclasses.replace(flow.conditioner, width=8, query_width=4, value_width=4)
        sizes = {"n_backbone_couplings": 2, "n_joint_couplings": 2, "n_bins": 4}
        return dataclasses.replace(flow, conditioner=net, **sizes)
    sizes = {"n_blocks": 1, "n_circular_blocks": 1, "n_bins": 4}
    return dataclasses.replace(flow, conditioner=MLP(hidden=(8, 8)), **sizes)


def many_samples(plan: Plan) -> Plan:
    return dataclasses.replace(plan, sampling=dataclasses.replace(plan.sampling, n=6000))


CONTRACT = {
    "system", "seed", "preset", "temperature", "units", "n_samples", "ess_fraction",
    "ess_fraction_clipped", "largest_weight_share", "forward_nll", "log_z",
    "free_energy_differences", "energy_evaluations", "wall_seconds", "worth", "parameters",
}  # fmt: skip
DIFFERENCE = {
    "states", "tau", "value", "stderr", "interval95", "reference", "reference_stderr", "definition",
}  # fmt: skip


def check_results(results: dict[str, Any]) -> None:
    """Every key of the contract, every number finite, every null with its reason."""
    assert results.keys() >= CONTRACT
    assert set(results["energy_evaluations"]) - {"correct"} == {"simulate", "train", "evaluate"}
    stages = {"simulate", "train", "sample", "evaluate"}
    assert set(results["wall_seconds"]) - {"correct"} == stages
    for name in ("ess_fraction", "ess_fraction_clipped", "largest_weight_share"):
        assert 0 <= results[name] <= 1
    assert results["free_energy_differences"]
    for entry in results["free_energy_differences"]:
        assert entry.keys() >= DIFFERENCE
        if entry["value"] is None or entry["stderr"] is None:
            assert entry["reason"]
        else:
            assert np.isfinite([entry["value"], entry["stderr"], *entry["interval95"]]).all()
        if entry["reference"] is None:
            assert entry["reference_reason"]
    for values in (results["energy_evaluations"], results["wall_seconds"]):
        assert all(np.isfinite(value) for value in values.values())
