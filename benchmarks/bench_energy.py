"""Energies with gradients per second: the compiled force field against OpenMM's contexts; one JSON line each.

    python benchmarks/bench_energy.py [--pdb FILE] [--forcefield FF.xml SOLVENT.xml] [--batch 1024] [--repeats 7]

Alanine dipeptide unless a file is given. One process, the rounds of all candidates interleaved: the force field
compiled to JAX in float32 on one device and on one device for each core; OpenMM through ``jax.pure_callback`` as
training calls it, by platform, kind and number of workers. OpenMM has a native force for OBC2, which jbg takes;
other solvents are a CustomGBForce. Energies alone, and what compiled working memory a sample takes, follow.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from record import report

from jbg.systems.forcefield import compiled_potential
from jbg.systems.molecule import FORCEFIELD, molecule_from_pdb, molecule_from_sequence
from jbg.systems.openmm_callback import openmm_potential
from jbg.systems.openmm_pool import usable_cores
from jbg.systems.openmm_probe import open_pool

CORES = usable_cores()


def on_devices(function, x, n: int):
    """``function(x)`` over the batch on n devices, compiled, and its input placed."""
    mesh, spec = Mesh(jax.devices()[:n], "batch"), PartitionSpec(None, "batch")
    sharded = jax.shard_map(
        function, mesh=mesh, in_specs=spec, out_specs=(PartitionSpec("batch"), spec)
    )
    return jax.jit(sharded), jax.device_put(x, NamedSharding(mesh, spec))


def energy_and_gradient(potential):
    def call(x):
        energy, pull_back = jax.vjp(potential, x)
        return energy, pull_back(jnp.ones_like(energy))[0]

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pdb", type=Path)
    parser.add_argument("--forcefield", nargs="+", default=FORCEFIELD)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    # before JAX starts; host callbacks need more threads than there are devices
    os.environ.setdefault("NPROC", str(2 * CORES))
    jax.config.update("jax_num_cpu_devices", CORES)
    if args.pdb is None:
        molecule = molecule_from_sequence("ACE-ALA-NME", forcefield=args.forcefield)
    else:
        molecule = molecule_from_pdb(args.pdb, forcefield=args.forcefield)
    shape = (args.batch, *molecule.positions.shape)
    noise = 0.003 * np.random.default_rng(0).normal(size=shape)
    x = jnp.asarray((molecule.positions + noise).reshape(args.batch, -1).T, jnp.float32)
    compiled = compiled_potential(molecule.system_xml)
    candidates = {
        f"jax/{n} devices": on_devices(energy_and_gradient(compiled), x, n)
        for n in sorted({1, CORES})
    }
    pools = []
    for platform in ("Reference", "CPU"):
        for kind, n in (("threads", 1), ("threads", CORES), ("processes", CORES)):
            choice = {"platform": platform, "workers": kind, "n_workers": n}
            pools.append(open_pool(molecule.system_xml, choice))
            call = energy_and_gradient(openmm_potential(pools[-1]))
            candidates[f"callback/{platform} x {n} {kind}"] = (jax.jit(call), x)
    seconds = {name: [] for name in candidates}
    for _ in range(args.repeats + 1):
        for name, (call, given) in candidates.items():
            begin = time.perf_counter()
            jax.block_until_ready(call(given))
            seconds[name].append(time.perf_counter() - begin)
    about = {"molecule": molecule.name, "atoms": len(molecule.positions), "batch": args.batch}
    about |= {"forcefield": " ".join(args.forcefield), "cores": CORES}
    rates = {name: args.batch / statistics.median(times[1:]) for name, times in seconds.items()}
    for name, rate in rates.items():
        report(f"energy+gradient/{name}", rate, "1/s", **about)
    best = {
        kind: max(rate for name, rate in rates.items() if name.startswith(kind))
        for kind in ("jax", "callback")
    }
    report(
        "energy+gradient/jax over the best callback", best["jax"] / best["callback"], "x", **about
    )
    call, given = candidates["jax/1 devices"]
    memory = call.lower(given).compile().memory_analysis()
    report("energy+gradient/jax/working memory", memory.temp_size_in_bytes / 2**20 / args.batch,
           "MiB a sample", **about)  # fmt: skip
    energy = jax.jit(compiled)
    jax.block_until_ready(energy(x))
    begin = time.perf_counter()
    jax.block_until_ready(energy(x))
    report("energy/jax/1 devices", args.batch / (time.perf_counter() - begin), "1/s", **about)
    for pool in pools:
        pool.close()


if __name__ == "__main__":
    main()
