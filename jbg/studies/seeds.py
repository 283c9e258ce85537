"""Several runs of one plan that differ in their seed alone, and how far their numbers scatter.

Their folders stand side by side in one, ``seed-0``, ``seed-1`` and so on; ``seeds.json`` beside them holds what
`spread` finds, ``seeds.html`` shows it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from jbg.interfaces import ConfigError
from jbg.report import seeds as report
from jbg.runs import check_seed, storage
from jbg.runs.run import CONFIG

NUMBERS, PAGE = "seeds.json", "seeds.html"
UNLIKELY = (
    0.01  # probability of a scatter as large by chance, below which errors count as too small
)


def read_seeds(words: Iterable[str]) -> tuple[int, ...]:
    """The seeds of words such as "0..4" and "7", in their order.

    Raises:
        ConfigError: a word that is no seed and no range of them, fewer than two seeds, or one given twice.
    """
    found: list[int] = []
    for word in words:
        first, dots, last = word.partition("..")
        ends = [first, last] if dots else [first]
        if not all(end.isdecimal() for end in ends) or int(ends[-1]) < int(ends[0]):
            raise ConfigError(f"--seeds: expected seeds such as 0..4 or 0 1 7, got {word!r}")
        if int(ends[-1]) - int(ends[0]) >= 1000:
            raise ConfigError(f"--seeds: at most 1000 seeds, got {word}")
        found += range(int(ends[0]), int(ends[-1]) + 1)
    for seed in found:
        check_seed(seed)
    if len(found) < 2 or len(set(found)) < len(found):
        raise ConfigError(
            f"--seeds: give two or more different seeds, got {' '.join(words)}; --seed gives one"
        )
    return tuple(found)


def folder_of(out: Path, seed: int) -> Path:
    """The run folder of one of several seeds."""
    return out / f"seed-{seed}"


def check_folder(out: Path) -> None:
    """Raises ConfigError where the folder of several seeds is itself that of a run."""
    if (out / CONFIG).exists():
        raise ConfigError(f"{out} holds a single run: choose another --out for --seeds")


def spread(results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """How the numbers of several seeds scatter.

    Args:
        results: what ``results.json`` of each seed holds.

    Returns:
        ``seeds``; ``ess_fraction`` of each; and ``free_energy_differences``: for each pair of states and each tau
        the ``values`` by seed, and of those that are given: their ``mean``; its ``stderr``, which is the scatter
        divided by the square root of their number; ``scatter``, their standard deviation; ``mean_stderr``, the
        root mean square of their errors; ``chi2`` about the mean weighted by the errors, with its ``degrees`` of
        freedom; ``p``, the probability of as much by chance. None where fewer than two are given. Seeds that
        learn from the same trajectories of a user share the error of these: then ``stderr`` is ``mean_stderr``,
        and there is neither ``chi2`` nor ``p``.
    """
    first = next(iter(results.values()))
    pairs = [_place(entry) for entry in first.get("free_energy_differences", [])]
    return {
        "study": first.get("system"),
        "seeds": list(results),
        "n_samples": first.get("n_samples"),
        "ess_fraction": [found.get("ess_fraction") for found in results.values()],
        "free_energy_differences": [_of_pair(pair, results) for pair in pairs],
    }


def _place(entry: Mapping[str, Any]) -> tuple[str, str, float]:
    a, b = entry["states"]
    return a, b, entry.get("tau", 1.0)


def _of_pair(
    pair: tuple[str, str, float], results: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    keys = ("value", "stderr", "reference", "reference_stderr", "reason", "estimator")
    values = []
    for seed, found in results.items():
        entries = [e for e in found.get("free_energy_differences", []) if _place(e) == pair]
        entry = entries[0] if entries else {"reason": "not among the results of this seed"}
        values.append({"seed": seed} | {k: entry[k] for k in keys if entry.get(k) is not None})
    given = [(v["value"], v["stderr"]) for v in values if "value" in v and v.get("stderr")]
    moments = _moments(given)
    if any(found.get("own_data") for found in results.values()):
        alone = dict.fromkeys(("chi2", "degrees", "p"))
        moments |= alone | {"stderr": moments["mean_stderr"]}
    return {"states": pair[:2], "tau": pair[2], "values": values, **moments}


def _moments(given: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The mean and scatter of values with their standard errors, and the chi^2 of the two."""
    names = ("mean", "stderr", "scatter", "mean_stderr", "chi2", "degrees", "p")
    if len(given) < 2:
        return dict.fromkeys(names)
    value, stderr = np.array(given, float).T
    weighted = np.average(value, weights=stderr**-2)
    chi2, degrees = float(np.sum(((value - weighted) / stderr) ** 2)), len(value) - 1
    scatter = float(value.std(ddof=1))
    return {
        "mean": float(value.mean()),
        "stderr": scatter / math.sqrt(len(value)),
        "scatter": scatter,
        "mean_stderr": float(np.sqrt(np.mean(stderr**2))),
        "chi2": chi2,
        "degrees": degrees,
        "p": float(stats.chi2.sf(chi2, degrees)),
    }


def warnings(found: Mapping[str, Any]) -> list[str]:
    """What speaks against the numbers: differences that scatter more than their errors allow, or are missing."""
    said = []
    for entry in found["free_energy_differences"]:
        what = f"F({entry['states'][1]}) - F({entry['states'][0]}) at tau {entry['tau']:g}"
        missing = [str(v["seed"]) for v in entry["values"] if "value" not in v]
        if missing:
            said.append(f"{what}: not given by seed {', '.join(missing)}")
        if entry["p"] is not None and entry["p"] < UNLIKELY:
            said.append(
                f"{what}: the seeds scatter by {entry['scatter']:.3g} kT, and their errors are "
                f"{entry['mean_stderr']:.3g} kT: the errors are too small, use the scatter"
            )
    return said


def write(out: Path, results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Writes ``seeds.json`` and ``seeds.html``; returns what the former holds."""
    found = spread(results)
    found["warnings"] = warnings(found)
    storage.write_json(out / NUMBERS, found)
    report.write(out / PAGE, found)
    return found
