"""Do reported intervals cover, and do alarms fire, where the truth is known? Synthetic weights with heavy tails.

Free energies: N generated samples, a share of them in state B, whose weights have a known distribution; A
behaves well. F(B) - F(A) by plain reweighting (`free_energy_difference`) and by BAR with frames of 16 ladders, 60
of each in B, independent or correlated over 8 (`bar_free_energy_difference`). A repeat is *quiet* if no
alarm of `jbg.analysis.alarms` concerns it. Counted: given, covering where given, covering
where given and quiet, and how often the two estimators set off the alarm on each other.

Lost basins: an exact flow except for a basin of a state, which it generates a million times too rarely, in 60 to
400 dimensions, with independent frames; the same with frames of 16 ladders whose visits to the basin last 5 to 200
of 300 frames, ln w scattering by 0.5; and flows without fault, whose ln w scatters by up to 1, in part slowly.
Counted: repeats in which the alarm fires.

    python experiments/coverage.py --repeats 400 --first 1000000 --processes 2 --out runs/coverage

Bounds were chosen with repeats from 0 to 100 000. 20 CPU minutes for 400 repeats.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from scipy import stats

from jbg import reweighting
from jbg.analysis import (
    StateSamples,
    bar_free_energy_difference,
    free_energy_difference,
    mean_weight,
    weight_gap,
)
from jbg.analysis.alarms import part_missing
from jbg.analysis.estimate_alarms import estimator_alarms, heavy_sample_alarms

N, LADDERS, FRAMES = 100_000, 16, 60


@dataclasses.dataclass(frozen=True)
class Weights:
    """ln w in a state: ``generated(rng, n)`` of samples of q, ``simulated(p)`` the quantiles p among frames."""

    mean: float
    generated: Callable[[np.random.Generator, int], np.ndarray]
    simulated: Callable[[np.ndarray], np.ndarray]


def lognormal(sigma: float) -> Weights:
    return Weights(
        1.0,
        lambda rng, n: sigma * rng.normal(size=n) - sigma**2 / 2,
        lambda p: sigma * stats.norm.ppf(p) + sigma**2 / 2,
    )


def pareto(k: float) -> Weights:
    """Weights above 1 with density w^(-1/k - 1): frames have w^(-1/k)."""
    return Weights(
        1 / (1 - k),
        lambda rng, n: -k * np.log(rng.random(n)),
        lambda p: -np.log1p(-p) / (1 / k - 1),
    )


def thin(share: float, factor: float, sigma: float = 0.3) -> Weights:
    """``share`` of the state lies where q is ``factor`` times too small."""
    rare = share / factor / (1 - share + share / factor)
    scatter = lognormal(sigma)

    def simulated(p):
        inside = p < share
        rest = np.where(inside, p / share, (p - share) / (1 - share))
        return scatter.simulated(np.clip(rest, 1e-12, 1 - 1e-12)) + np.where(
            inside, np.log(factor), 0.0
        )

    return Weights(
        1 - rare + rare * factor,
        lambda rng, n: (
            scatter.generated(rng, n) + np.where(rng.random(n) < rare, np.log(factor), 0.0)
        ),
        simulated,
    )


CASES = {  # weights in B, share of the generated samples in B
    "lognormal 1": (lognormal(1.0), 0.02),
    "lognormal 1.5, B of 0.5 %": (lognormal(1.5), 0.005),
    "lognormal 2": (lognormal(2.0), 0.02),
    "lognormal 2.5": (lognormal(2.5), 0.02),
    "Pareto 0.7": (pareto(0.7), 0.02),
    "Pareto 0.8": (pareto(0.8), 0.02),
    "a tenth 300 times too thin": (thin(0.1, 300.0), 0.02),
}
GOOD = lognormal(0.3)


def correlated(rng: np.random.Generator, shape: tuple[int, int], length: float) -> np.ndarray:
    """Uniform numbers, rows independent, an autoregression of statistical inefficiency ``length`` along them."""
    rho, x = (length - 1) / (length + 1), rng.normal(size=shape)
    for t in range(1, shape[1]):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * x[:, t]
    return stats.norm.cdf(x)


def difference(task: tuple[str, float, int]) -> dict[str, Any]:
    """One repeat: both estimators on one draw."""
    name, length, seed = task
    weights, share = CASES[name]
    rng = np.random.default_rng(seed)
    n_b = rng.binomial(N, share)
    in_b, in_a = weights.generated(rng, n_b), GOOD.generated(rng, N - n_b)
    exact = float(np.log((1 - share) / (share * weights.mean)))
    log_w = np.append(in_b, in_a)
    inside = np.arange(N) < n_b
    plain = free_energy_difference(log_w, ~inside, inside, seed=seed)
    half = np.sqrt(np.sum(np.exp(2 * in_b))) / np.sum(np.exp(in_b))
    frames_b = weights.simulated(correlated(rng, (LADDERS, FRAMES), length))
    frames_a = GOOD.simulated(correlated(rng, (LADDERS, 10 * FRAMES), length))
    bar = bar_free_energy_difference(
        *(
            StateSamples(-w, 0 * w, N, -frames, 0 * frames)
            for w, frames in ((in_a, frames_a), (in_b, frames_b))
        ),
        same_generator=True,
        seed=seed,
    )
    tail = mean_weight(in_b, n_b, rng, of_set=False).unseen
    of_state = {
        "largest_weight_share": reweighting.largest_weight_share(in_b),
        "pareto_k": reweighting.pareto_k(in_b),
        "tail_kt": tail,
    }
    fine = {"largest_weight_share": 0.0, "pareto_k": 0.0, "tail_kt": 0.0}
    entry = lambda found: found._asdict() | {"states": ["A", "B"], "tau": 1.0}
    apart = estimator_alarms(entry(bar) | {"estimator": "bar"}, entry(plain))
    gap = weight_gap(frames_b.ravel(), np.repeat(np.arange(LADDERS), FRAMES), in_b, seed=seed)
    missing = part_missing(gap.as_results())
    covers = lambda found: (
        found.value is not None and (found.interval95[0] <= exact <= found.interval95[1])
    )
    width = None if plain.value is None else (plain.interval95[1] - plain.interval95[0]) / 2
    return {
        "plain": {
            "given": plain.value is not None,
            "covers": covers(plain),
            "quiet": not heavy_sample_alarms(entry(plain), {"A": fine, "B": of_state}),
            "error": None if plain.value is None else plain.value - exact,
            "half_width": width,
            "wider": None if width is None else width / (1.96 * half),
        },
        "bar": {
            "given": bar.value is not None,
            "covers": covers(bar),
            "quiet": not (apart or missing),
            "error": None if bar.value is None else bar.value - exact,
            "stderr": bar.stderr,
        },
        "apart": bool(apart),
        "missing": missing,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates of one estimator, those of fewer than 100 repeats with their 95 % binomial interval."""
    given = [row for row in rows if row["given"]]
    quiet = [row for row in given if row["quiet"]]
    found: dict[str, Any] = {"repeats": len(rows), "given": len(given) / len(rows)}
    for name, chosen in (("covers", given), ("covers_quiet", quiet)):
        hits, n = sum(row["covers"] for row in chosen), len(chosen)
        found[name] = {"n": n, "rate": hits / n if n else None}
        if 0 < n < 100:
            low, high = stats.binomtest(hits, n).proportion_ci()
            found[name]["interval95"] = [float(low), float(high)]
    errors = np.array([row["error"] for row in given])
    if errors.size:
        found |= {"mean_error": float(errors.mean()), "sd": float(errors.std())}
    for name in ("half_width", "wider", "stderr"):
        values = [row[name] for row in given if row.get(name) is not None]
        if values:
            found[name] = float(np.mean(values))
    return found


def lost_basin(task: tuple[int, float, int, int]) -> bool:
    """Whether the alarm fires on an exact flow that misses ``lost`` of a state, in ``dim`` dimensions."""
    dim, lost, n_frames, seed = task
    rng, m, factor = np.random.default_rng(seed), 20_000, np.log(1e6)
    wall = stats.norm.ppf(1 - lost)

    def log_w(x):  # u and ln q each scatter by sqrt(dim / 2)
        u = 0.5 * np.sum(x**2, axis=1)
        log_q = -0.5 * np.sum(x**2, axis=1) - np.where(x[:, 0] < wall, np.log(1 - lost), factor)
        return -u - log_q

    drawn, frames = rng.normal(size=(m, dim)), rng.normal(size=(n_frames, dim))
    drawn[:, 0] = stats.norm.ppf(rng.random(m) * (1 - lost))
    chain = np.arange(n_frames) * 10 // n_frames
    return part_missing(weight_gap(log_w(frames), chain, log_w(drawn), seed=seed).as_results())


def lasting_basin(task: tuple[int, int]) -> bool:
    """Whether the alarm fires where 8 % of a state are lost and visits last ``life`` frames, 300 of 16 ladders."""
    life, seed = task
    rng, lost, scatter = np.random.default_rng(seed), 0.08, lognormal(0.5)
    inside = np.empty((LADDERS, 300), bool)
    now = rng.random(LADDERS) < lost
    for t in range(300):
        draw = rng.random(LADDERS)
        now = np.where(now, draw < 1 - 1 / life, draw < lost / (1 - lost) / life)
        inside[:, t] = now
    frames = scatter.simulated(rng.random(inside.shape)) + np.where(inside, np.log(1e6), 0.0)
    chain = np.repeat(np.arange(LADDERS), 300)
    drawn = scatter.generated(rng, 20_000)
    return part_missing(weight_gap(frames.ravel(), chain, drawn, seed=seed).as_results())


def calibrated(task: tuple[int, float]) -> bool:
    """Whether any alarm of a run with two states fires on a flow whose ln w scatters but which misses nothing.

    A part of the scatter is slow, with the statistical inefficiency ``length``, the rest new in each frame.
    """
    seed, length = task
    rng, fired = np.random.default_rng(seed), False
    for share in (0.98, 0.02):
        weights, slow = lognormal(rng.uniform(0.05, 1.0)), rng.uniform(0.0, 1.0)
        n_frames = int(rng.choice([100, 300, 1000, 5000]))
        normal = stats.norm.ppf(correlated(rng, (10, n_frames // 10), length))
        mixed = np.sqrt(slow) * normal + np.sqrt(1 - slow) * rng.normal(size=normal.shape)
        frames = weights.simulated(stats.norm.cdf(mixed)).ravel()
        drawn = weights.generated(rng, int(N * share))
        gap = weight_gap(frames, np.arange(n_frames) * 10 // n_frames, drawn, seed=seed)
        fired |= part_missing(gap.as_results())
    return fired


def main(
    repeats: int = 400,
    first: int = 1_000_000,
    processes: int = os.cpu_count() or 1,
    out: Path = Path("runs/coverage"),
) -> None:
    """All tables, written to ``coverage.json``; seeds from ``first`` on."""
    out.mkdir(parents=True, exist_ok=True)
    seeds = range(first, first + repeats)
    with ProcessPoolExecutor(processes) as pool:
        run = lambda function, tasks: list(pool.map(function, tasks, chunksize=8))
        table = []
        for name in CASES:
            for length in (1.0, 8.0):
                rows = run(difference, [(name, length, seed) for seed in seeds])
                line = {"weights": name, "correlation": length}
                for row in rows:  # what a run reports
                    row["printed"] = row["bar" if row["bar"]["given"] else "plain"]
                kinds = ("plain", "bar", "printed")
                line |= {kind: summary([row[kind] for row in rows]) for kind in kinds}
                line |= {
                    alarm: np.mean([row[alarm] for row in rows]) for alarm in ("apart", "missing")
                }
                table.append(line)
                print(json.dumps(line), flush=True)
        lost = [
            {"dim": dim, "lost": share, "frames": n, "fires": sum(fired), "repeats": len(fired)}
            for dim in (60, 150, 400)
            for share in (0.08, 0.3)
            for n in (100, 1000)
            for fired in [run(lost_basin, [(dim, share, n, first + i) for i in range(20)])]
        ]
        false = {
            f"correlation {length:g}": float(
                np.mean(run(calibrated, [(first + i, length) for i in range(500)]))
            )
            for length in (1.0, 8.0, 30.0)
        }
        lasting = [
            {"life": life, "fires": sum(fired), "repeats": len(fired)}
            for life in (5, 20, 60, 200)
            for fired in [run(lasting_basin, [(life, first + i) for i in range(40)])]
        ]
    alarms = {"lost_basins": lost, "lasting_visits": lasting, "false_alarms_of_500": false}
    print(json.dumps(alarms, indent=1))
    found = {"differences": table, **alarms, "first_seed": first}
    (out / "coverage.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    tyro.cli(main)
