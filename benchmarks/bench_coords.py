"""Internal coordinates per second: placement and measurement with log-determinants, their gradients, compile time.

    python benchmarks/bench_coords.py [--batch 256] [--repeats 9] [--pdb ../shared/structures/bpti_1bpi_exp.pdb]

Alanine dipeptide (22 atoms) and the protein of the PDB file (BPTI: 892 atoms with hydrogens), in
float32. The gradient is that of a scalar of positions and log-determinant. The rate of a float32
matrix product stands beside them: it says how fast the machine was then.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from record import median_seconds, report, time_compiled

from jbg.coords import build_zmatrix, internal
from jbg.systems.molecule import Molecule, molecule_from_pdb, molecule_from_sequence

BPTI = Path(__file__).parents[1] / ".." / "shared" / "structures" / "bpti_1bpi_exp.pdb"


def bench(name: str, molecule: Molecule, *, batch: int, repeats: int) -> None:
    """Reports rates, compile times and temporary memory of one molecule."""
    bijector = internal(build_zmatrix(molecule.topology, molecule.positions))
    rng = np.random.default_rng(0)
    frames = molecule.positions + 0.003 * rng.normal(size=(batch, *molecule.positions.shape))
    x = jnp.asarray(frames.reshape(batch, -1).T, jnp.float32)
    y, _ = jax.jit(bijector.inverse)((), x)
    weights = {len(v): jnp.asarray(rng.normal(size=len(v)), jnp.float32) for v in (x, y)}

    def scalar(direction):
        def of(v):
            out, log_det = direction((), v)
            return jnp.sum(jnp.tensordot(weights[len(out)], out, axes=1) + log_det)

        return of

    calls = {
        "forward": (lambda y: bijector.forward((), y), y),
        "forward+gradient": (jax.value_and_grad(scalar(bijector.forward)), y),
        "inverse": (lambda x: bijector.inverse((), x), x),
        "inverse+gradient": (jax.value_and_grad(scalar(bijector.inverse)), x),
    }
    settings = {"atoms": len(molecule.positions), "batch": batch}
    for call, (function, value) in calls.items():
        timing = time_compiled(function, value, repeats=repeats)
        report(
            f"{name}/{call}",
            batch / timing.seconds,
            "samples/s",
            **settings,
            **timing.costs(),
        )


def bench_machine(repeats: int) -> None:
    a = jnp.ones((1024, 1024), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    seconds = median_seconds(lambda: product(a), repeats=repeats)
    report("matrix_product_1024", 2 * 1024**3 / seconds / 1e9, "GFLOP/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--pdb", type=Path, default=BPTI, help="a protein")
    args = parser.parse_args()
    bench_machine(args.repeats)
    settings = {"batch": args.batch, "repeats": args.repeats}
    bench("alanine_dipeptide", molecule_from_sequence("ACE-ALA-NME"), **settings)
    if args.pdb.exists():
        bench(args.pdb.stem, molecule_from_pdb(args.pdb), **settings)
    else:
        print(f"no protein: there is no {args.pdb}; give one with --pdb")
    bench_machine(args.repeats)


if __name__ == "__main__":
    main()
