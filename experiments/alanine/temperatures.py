"""Free energies at other temperatures by reweighting one run, beside a replica exchange at each of them.

The run is evaluated with ``--temperatures`` and two more states (`jbg.studies.temperatures`). The replica
exchanges have the settings of its simulation and other seeds, and are judged as those of runs are
(`checked_reference`). Energies and heat capacities of the ladders have the errors between them. Finished
simulations are read back.

    jbg run alanine-dipeptide --seed 901 --out runs/ala2
    python experiments/alanine/temperatures.py --run runs/ala2 --out runs/alanine-temperatures
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import jbg
from jbg.runs import Run, load_run
from jbg.studies import engine
from jbg.studies.dataset import load_dataset
from jbg.studies.molecule.files import DOMAIN
from jbg.studies.molecule.reference import ladder_reference, start_sides
from jbg.studies.molecule.states import named_torsions
from jbg.studies.molecule.stored import load_molecule
from jbg.studies.study import Plan
from jbg.units import kt

STATES = (
    "alpha: torsion phi2 in -120..-30 and torsion psi2 in -80..10",
    "beta: torsion phi2 in -180..-30 and torsion psi2 in 90..-150",
)


def plan_at(plan: Plan, temperature: float, seed: int) -> Plan:
    """The same study at another temperature."""
    options = {f.name: getattr(plan.options, f.name) for f in dataclasses.fields(plan.options)}
    options["temperature"] = temperature
    return jbg.make_plan(plan.study, preset=plan.preset, seed=seed, **options)


def simulated(run: Run, temperature: float) -> dict[str, Any]:
    """F between the states, U and C of the ladders of a run, in kJ/mol."""
    topology, data = load_molecule(run).topology, load_dataset(run)
    inside = run.load_arrays(DOMAIN)["inside"]
    torsion = named_torsions(topology)[0]
    own = tuple(jbg.state(*text.split(": "), topology) for text in STATES)
    found: dict[str, Any] = {"differences": {}}
    for pair in ((torsion.first, torsion.second), own):
        known = ladder_reference(topology, data, inside, start_sides(run), pair, seed=0)
        scaled = [None if v is None else v * kt(temperature) for v in (known.value, known.stderr)]
        found["differences"][f"{pair[1].name} - {pair[0].name}"] = [*scaled, known.reason]
    u, ladder = data.u[inside] * kt(temperature), data.chain[inside]
    parts = [u[ladder == k] for k in np.unique(ladder)]
    error = lambda of_ladders: float(np.std(of_ladders, ddof=1) / np.sqrt(len(of_ladders)))
    means, heat = (
        [p.mean() for p in parts],
        [p.var() / (kt(temperature) * temperature) for p in parts],
    )
    found["energy"] = [float(np.mean(means)), error(means)]
    # the variance between ladders is within their error
    found["heat_capacity"] = [float(np.mean(heat)), error(heat)]
    return found


def rows(entry: dict[str, Any], known: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each number that both have: reweighted, simulated, and the difference in combined errors."""
    pairs = {f"{d['states'][1]} - {d['states'][0]}": d["free_energy"] for d in entry["differences"]}
    both = {
        f"F: {name}": (pairs[name], known["differences"][name]) for name in known["differences"]
    }
    both |= {name: (entry[name], known[name]) for name in ("energy", "heat_capacity")}
    found = []
    for name, (own, (value, stderr, *reason)) in both.items():
        row = {"temperature": entry["temperature"], "what": name, "reweighted": own["value"]}
        row |= {"stderr": own["stderr"], "simulated": value, "simulated_stderr": stderr, "z": None}
        if own["value"] is not None and value is not None:
            row["z"] = float((own["value"] - value) / np.hypot(own["stderr"], stderr))
        found.append(row | ({"reason": reason[0]} if reason and reason[0] else {}))
    return found


def main(
    run: Path, out: Path, temperatures: tuple[float, ...] = (280.0, 300.0, 320.0), seed: int = 902
) -> None:
    """Compares, and writes ``temperatures.json`` in ``out``.

    Args:
        run: finished, of alanine dipeptide.
        out: where the replica exchanges are.
        temperatures: K; that of the run takes its own simulation.
        seed: of the first replica exchange; the others count on.
    """
    finished = load_run(run)
    plan = engine.plan_of(finished)
    asked = jbg.Questions(states=STATES, temperatures=temperatures)
    results = jbg.evaluate(finished, questions=asked)
    table, others = [], 0
    for entry in results["temperature_series"]:
        temperature, ladders = entry["temperature"], finished
        if temperature != plan.options.temperature:
            ladders = jbg.open_run(
                out / f"{temperature:g}", plan_at(plan, temperature, seed + others)
            )
            engine.simulate(ladders)
            others += 1
        table += rows(entry, simulated(ladders, temperature))
    out.mkdir(parents=True, exist_ok=True)
    (out / "temperatures.json").write_text(json.dumps(table, indent=1))
    for row in table:
        print(json.dumps(row))


if __name__ == "__main__":
    tyro.cli(main)
