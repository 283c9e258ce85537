"""Studies small enough for tests: the presets' configs with few steps, few rounds, small networks."""

from typing import Any

import numpy as np

from jbg.studies import engine

ROUNDS = 100  # of replica exchange, burn-in included
BATCH = 500  # samples drawn at once; also what an evaluation during training spends


def shrink(config: dict[str, Any], steps: int = 40) -> dict[str, Any]:
    """The same study with ``steps`` steps in each stage and 2000 samples."""
    few = {"steps": steps, "log_every": 10, "eval_every": 20, "warmup": 0}
    stages = [
        stage
        | few
        | {"batch_size": max(32, 16 * _n_taus(stage))}
        | {"data_batch": 16 if stage["data_batch"] else None}
        | {"buffer": _small(stage["buffer"]) if stage["buffer"] else None}
        for stage in config["stages"]
    ]
    sampling = config["sampling"] | {"n": 2000, "batch": BATCH}
    return config | {"stages": stages, "sampling": sampling}


def _n_taus(stage: dict[str, Any]) -> int:
    return max(len(term.get("taus", (1.0,))) for term in stage["losses"])


def _small(buffer: dict[str, Any]) -> dict[str, Any]:
    few = {"n": 32, "every": 10, "capacity": 64}
    return buffer | {name: value for name, value in few.items() if name in buffer}


def small_mlp(*hidden: int) -> dict[str, Any]:
    return {"kind": "mlp", "hidden": list(hidden)}


def double_well(*, seed: int = 1, steps: int = 40, **options: Any) -> dict[str, Any]:
    return _plane("double-well", seed, steps, options)


def mueller_brown(*, seed: int = 1, steps: int = 40, **options: Any) -> dict[str, Any]:
    return _plane("mueller-brown", seed, steps, options)


def _plane(name: str, seed: int, steps: int, options: dict[str, Any]) -> dict[str, Any]:
    config = shrink(engine.make_config(name, seed=seed, **options), steps)
    config["simulation"] |= {"n_steps": 400, "stride": 2}
    config["flow"] |= {"n_blocks": 1, "conditioner": small_mlp(8), "n_bins": 4}
    return config


def molecule(name: str, *, seed: int = 1, steps: int = 40, **options: Any) -> dict[str, Any]:
    config = shrink(engine.make_config(name, seed=seed, **options), steps)
    if options.get("data") == "none":
        config["simulation"]["n_frames"] = 200
        config["simulation"]["chains"] |= {"n": 4, "left_out": 10, "steps": 20, "stride": 5}
    else:
        config["simulation"] |= _short_exchange(config["simulation"]["temperatures"])
    config["flow"] |= {"n_blocks": 1, "conditioner": small_mlp(8, 8), "n_bins": 4, "unroll": 1}
    if "n_circular_blocks" in config["flow"]:
        config["flow"]["n_circular_blocks"] = 1
    return config


def _short_exchange(ladder) -> dict[str, Any]:
    return {
        "temperatures": (ladder[0], ladder[-1]),
        "n_ladders": 4,
        "aside": 0.25,
        "n_burn_in": 40,
        "n_rounds": ROUNDS - 40,
        "n_steps": 5,
        "n_rotations": 2,
    }


def many_samples(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"sampling": config["sampling"] | {"n": 6000, "batch": BATCH}}


CONFIGS = {  # of the runs that tests kill
    "double-well": lambda: double_well(steps=200),
    "alanine-dipeptide": lambda: many_samples(molecule("alanine-dipeptide", steps=200)),
}

CONTRACT = {
    "system", "seed", "preset", "temperature", "units", "n_samples", "ess_fraction",
    "ess_fraction_clipped", "largest_weight_share", "forward_nll", "log_z",
    "free_energy_differences", "energy_evaluations", "wall_seconds", "parameters",
}  # fmt: skip
DIFFERENCE = {
    "states", "tau", "value", "stderr", "interval95", "reference", "reference_stderr", "definition",
}  # fmt: skip


def check_results(results: dict[str, Any]) -> None:
    """Every key of the contract, every number finite, every null with its reason."""
    assert results.keys() >= CONTRACT
    assert set(results["energy_evaluations"]) == {"simulate", "train", "evaluate"}
    assert set(results["wall_seconds"]) == {"simulate", "train", "sample", "evaluate"}
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
