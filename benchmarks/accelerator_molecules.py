"""Parts of `bench_accelerator` about molecules themselves: energies with forces, dynamics, internal coordinates.

Each yields (name, call) pairs, one for each thing measured.
"""

import argparse
import functools
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from accelerator_file import TEMPERATURE, Prepared, load_all, near, potential_of
from record import median_seconds, report

from jbg.simulation.langevin import LangevinConfig, langevin

Cases = Iterator[tuple[str, Callable[[], None]]]

STEP_PS, FRICTION = 0.001, 10.0
# the first of each molecule is measured first, and against OpenMM
BATCHES = {
    "alanine_dipeptide": (10_000, 1000, 100_000, 1_000_000),
    "chignolin": (1024, 128, 8192, 65_536),
    "hp35": (256, 64, 1024, 4096),
    "protein_g": (256, 64, 1024, 4096),
    "bpti": (256, 64, 1024, 4096),
}
SMALL_BATCH = 32
WORKING_MIB = (256.0, 4096.0)  # of a chunk; jbg takes 1024 on what is no CPU
CHAINS = {
    "alanine_dipeptide": (8192, 1024),
    "chignolin": (512, 2048),
    "hp35": (128, 512),
    "protein_g": (64, 256),
    "bpti": (64, 256),
}
STEPS = 200  # of dynamics


def energy_and_gradient(potential: Callable) -> Callable:
    def both(x):
        value, pull = jax.vjp(potential, x)
        return value, pull(jax.numpy.ones_like(value))[0]

    return both


def energy(args: argparse.Namespace) -> Cases:
    molecules = load_all(args.prepared)
    tests = [(name, BATCHES[name][i]) for i in range(4) for name in BATCHES if name in molecules]
    if args.small:
        tests = [(name, SMALL_BATCH) for name in list(molecules)[:2]]
    checked = set()
    for name, batch in tests:
        case = functools.partial(energies, molecules[name], batch, check=name not in checked)
        yield f"energy/{name}/{batch}", case
        checked.add(name)
    for mib in () if args.small else WORKING_MIB:
        for name in ("chignolin", "protein_g"):
            case = functools.partial(energies, molecules[name], BATCHES[name][2], mib=mib)
            yield f"energy/{name}/chunks_of_{mib:.0f}_mib", case


def energies(
    prepared: Prepared, batch: int, *, check: bool = False, mib: float | None = None
) -> None:
    """Rate, and of the first batch the error against OpenMM's double precision.

    Args:
        prepared: the molecule.
        batch: configurations at once.
        check: whether to compare.
        mib: working memory of a chunk; None for what jbg takes.
    """
    name, n = f"energy/{prepared.name}", len(prepared.checks.frames)
    x = near(prepared, batch)
    if check:
        x = x.at[:, :n].set(prepared.checks.frames.reshape(n, -1).T.astype(np.float32))
    begin = time.perf_counter()
    both = jax.jit(energy_and_gradient(potential_of(prepared, mib))).lower(x).compile()
    compile_seconds, memory = time.perf_counter() - begin, both.memory_analysis()
    settings = {} if mib is None else {"chunks_of_mib": mib}
    report(
        f"{name}/energy+forces",
        batch / median_seconds(lambda: both(x), repeats=3),
        "1/s",
        batch=batch,
        atoms=len(prepared.positions),
        compile_seconds=round(compile_seconds, 2),
        temporary_mib=memory and round(memory.temp_size_in_bytes / 2**20, 1),
        **settings,
    )
    if check:
        u, gradient = jax.device_get(both(x))
        forces = -gradient[:, :n].T.reshape(n, -1, 3)
        known = prepared.checks
        size = lambda f: np.sqrt((f**2).sum((1, 2)))
        off = size(forces - known.forces) / size(known.forces)
        report(f"{name}/error", np.max(np.abs(u[:n] - known.energies)), "kJ/mol", batch=n)
        report(f"{name}/force_error", np.max(off), "relative L2", batch=n)


def md(args: argparse.Namespace) -> Cases:
    molecules = load_all(args.prepared)
    tests = [(name, CHAINS[name][i]) for i in (0, 1) for name in CHAINS if name in molecules]
    for name, n in [("alanine_dipeptide", 8)] if args.small else tests:
        steps = 10 if args.small else STEPS
        yield f"md/{name}/{n}", functools.partial(dynamics, molecules[name], n, steps)


def dynamics(prepared: Prepared, chains: int, steps: int) -> None:
    """Langevin dynamics of 1 fs; the second of two calls is timed, the first one's excess is compilation."""
    potential, start = potential_of(prepared), np.asarray(near(prepared, chains)).T
    config = LangevinConfig(n_steps=steps, stride=steps, timestep_ps=STEP_PS, friction=FRICTION)
    seconds = []
    for i in range(2):
        begin = time.perf_counter()
        found = langevin(
            jax.random.key(i),
            potential,
            start,
            masses=prepared.masses,
            temperature=TEMPERATURE,
            config=config,
        )
        seconds.append(time.perf_counter() - begin)
        if not np.isfinite(found.energies).all():
            raise RuntimeError("a chain blew up, so the timing means nothing")
    rate = chains * steps / seconds[1]
    report(
        f"md/{prepared.name}",
        rate * STEP_PS * 1e-3 * 86_400,
        "ns/day of all chains",
        chains=chains,
        steps=steps,
        steps_per_second=round(rate),
        atoms=len(prepared.positions),
        compile_seconds=round(max(0.0, seconds[0] - seconds[1]), 2),
    )


def coords(args: argparse.Namespace) -> Cases:
    import bench_coords  # imports OpenMM

    molecules = load_all(args.prepared)
    tests = [("bpti", 1024), ("bpti", 256), ("alanine_dipeptide", 16_384)]
    for name, batch in [("alanine_dipeptide", 16)] if args.small else tests:
        bench = functools.partial(
            bench_coords.bench, f"coords/{name}", molecules[name], batch=batch, repeats=5
        )
        yield f"coords/{name}/{batch}", bench
    yield "coords/machine", functools.partial(bench_coords.bench_machine, 5)
