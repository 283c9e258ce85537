"""What only an accelerator can show: energies, flows, dynamics, coordinates and a whole run.

    python benchmarks/bench_accelerator.py [--only PART ...] [--pdb FILE ...] [--out FILE] [--seconds 450]

Each part is a process of its own with a share of the time, killed when it overruns that: what fails is a line with
the reason, and loses nothing else. The parts, in this order:

run     `jbg run alanine-dipeptide` (quick preset), wall and compile seconds by stage; kept in --work
energy  compiled force fields in float32: alanine dipeptide with OBC2 and OBC1, the proteins of --pdb with OBC2
flow    the spline flow of that run (of a small one where there is none): training, samples, densities; RealNVP
md      Langevin dynamics and hybrid Monte Carlo of many chains
coords  internal coordinates of alanine dipeptide and of the larger proteins

Lines go to --out too, appended. --quick: sizes that show on a CPU that it works.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import accelerator_flows as flows
import accelerator_molecules as molecules
import jax
from record import failure, report

# in the order of their worth
PARTS = {
    "run": flows.whole_run,
    "energy": molecules.energy,
    "flow": flows.flow,
    "md": molecules.md,
    "coords": molecules.coords,
}

# of the seconds; what a part leaves goes to those after it
SHARES = {"run": 0.45, "energy": 0.17, "flow": 0.22, "md": 0.11, "coords": 0.05}
GRACE = 15.0  # seconds past its share after which a part is killed: a case may be under way
LEAST = 10.0  # seconds that a part is worth starting with


def run_here(part: str, args: argparse.Namespace) -> None:
    """All cases of a part in this process, as far as its seconds reach."""
    deadline = time.monotonic() + args.seconds
    for name, case in PARTS[part](args):
        if time.monotonic() > deadline:
            keep(failure(name, f"no time left of {args.seconds:.0f} s"))
            continue
        try:
            case()
        except Exception as error:  # noqa: BLE001  the other figures are wanted all the same
            lines = str(error).strip().splitlines() or [""]
            keep(failure(name, f"{type(error).__name__}: {lines[0][:300]}"))
    memory()


def run_apart(part: str, args: argparse.Namespace, seconds: float) -> None:
    """The part in a process of its own; this one must not hold the device."""
    command = [sys.executable, __file__, "--here", "--only", part, "--seconds", f"{seconds:.0f}"]
    command += ["--work", str(args.work), *(["--quick"] if args.quick else [])]
    command += ["--pdb", *map(str, args.pdb)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(seconds + GRACE, process.kill)
    timer.start()
    for line in process.stdout:
        keep(line, args.out)
    code = process.wait()
    timer.cancel()
    if code:
        why = "killed, or out of time" if code < 0 else f"exit status {code}, see above"
        keep(failure(part, why), args.out)


def memory() -> None:
    """The most that this process held on the device at once, where JAX counts it."""
    peaks = [device.memory_stats() or {} for device in jax.devices()]
    peak = max(stats.get("peak_bytes_in_use", math.nan) for stats in peaks)
    if math.isfinite(peak):
        report("peak_memory", peak / 2**20, "MiB")


def keep(line: str, out: Path | None = None) -> None:
    print(line, end="", flush=True)
    if out and line.startswith("{"):
        with out.open("a", encoding="utf-8") as file:
            file.write(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--pdb", nargs="*", type=Path, default=[], help="proteins")
    parser.add_argument("--out", type=Path, help="a file that the lines are added to")
    parser.add_argument("--seconds", type=float, default=450.0, help="for everything together")
    parser.add_argument("--work", type=Path, help="folder of the run; a temporary one unless given")
    parser.add_argument("--commit", help="of a copy of the source without its .git")
    parser.add_argument("--quick", action="store_true", help="sizes for a CPU")
    parser.add_argument("--here", action="store_true", help="in this process, without --out")
    args = parser.parse_args()
    if args.commit:
        os.environ["JBG_COMMIT"] = args.commit
    for path in [path for path in args.pdb if not path.exists()]:
        keep(failure(path.stem, f"there is no {path}"), args.out)
        args.pdb.remove(path)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        args.work = args.work or Path(folder)
        if not args.pdb and not args.here:
            keep(failure("proteins", "no structure: give some with --pdb"), args.out)
        for i, part in enumerate(args.only):
            left = args.seconds + begin - time.monotonic() - GRACE
            seconds = left * SHARES[part] / sum(SHARES[later] for later in args.only[i:])
            if args.here:
                run_here(part, args)
            elif seconds < LEAST:
                keep(failure(part, f"no time left of {args.seconds:.0f} s"), args.out)
            else:
                run_apart(part, args, seconds)


if __name__ == "__main__":
    main()
