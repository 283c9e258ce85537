"""``jbg run NAME --seeds 0..4``: one run after the other, and a table of how far their numbers scatter."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jbg.cli.options import RunOptions
from jbg.cli.settings import default_folder

Run = Any  # a run folder, of `jbg.runs`


def run_seeds(name: str, options: RunOptions, begin: Callable[[str, RunOptions], Run]) -> int:
    """All seeds in turn; those that are done already cost nothing.

    Args:
        name: of the study.
        options: of the command, with its seeds.
        begin: (name, options of one seed) -> its run, at its end; None after a dry run.

    Raises:
        ConfigError: seeds that cannot be read, or a folder that holds a single run.
    """
    from jbg.interfaces import ConfigError
    from jbg.studies import seeds as several

    seeds = several.read_seeds(options.seeds)
    if options.seed:
        raise ConfigError("give --seed or --seeds, not both")
    out = options.out or default_folder(name, options)
    several.check_folder(out)
    results = {}
    for seed in seeds:
        folder = several.folder_of(out, seed)
        one = dataclasses.replace(options, seed=seed, seeds=(), out=folder)
        if options.dry_run:
            begin(name, one)
            print(f"{len(seeds)} runs of this size, in {out}/seed-*")
            return 0
        print(f"seed {seed}: {folder}", file=sys.stderr)
        results[seed] = begin(name, one).read_json("results.json")
    _print(several.write(out, results), out, several)
    return 0


def _print(found: dict[str, Any], out: Path, several: Any) -> None:
    shares = dict(zip(found["seeds"], found["ess_fraction"], strict=True))
    for entry in found["free_energy_differences"]:
        at = "" if entry["tau"] == 1.0 else f" at tau {entry['tau']:g}"
        print(f"F({entry['states'][1]}) - F({entry['states'][0]}){at}, kT")
        for value in entry["values"]:
            share = shares[value["seed"]]
            ess = "" if share is None else f"   ESS fraction {share:.3g}"
            print(f"  seed {value['seed']:<6} {_figure(value)}{ess}")
        if entry["mean"] is not None:
            print(f"  mean        {entry['mean']:.3f} +- {entry['stderr']:.3f}   {_scatter(entry)}")
    if not found["free_energy_differences"]:
        for seed, share in shares.items():
            print(f"  seed {seed:<6} ESS fraction {share}")
    for warning in found["warnings"]:
        print(f"warning: {warning}")
    print(f"numbers: {out / several.NUMBERS}\nreport: {out / several.PAGE}")


def _scatter(entry: dict[str, Any]) -> str:
    scatter = f"scatter {entry['scatter']:.3f}"
    if entry["chi2"] is None:
        return f"{scatter}; the seeds share their trajectories, whose error no number of seeds makes smaller"
    chi2 = f"chi^2 {entry['chi2']:.2f} with {entry['degrees']} degrees of freedom"
    return f"{scatter}, {chi2} (p = {entry['p']:.2g})"


def _figure(value: dict[str, Any]) -> str:
    if "value" not in value:
        return f"not given: {value.get('reason')}"
    known = value.get("reference")
    beside = "" if known is None else f"   (reference {known:.3f})"
    return f"{value['value']:.3f} +- {value['stderr']:.3f}{beside}"
