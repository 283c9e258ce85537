"""What an accelerator does with proteins in nine minutes: energies, dynamics, training steps, annealing, learning.

    python benchmarks/bench_accelerator.py --prepare runs/accelerator.npz      once, where OpenMM is
    python benchmarks/bench_accelerator.py --prepared runs/accelerator.npz [--only PART ...] [--out FILE]

The second needs that file and no OpenMM. Each part is a process of its own with a share of the seconds, killed
when it overruns that: what fails is a line with the reason, and loses nothing else. The parts, in this order:

energy  energies with forces of five molecules, and their error against OpenMM's
md      Langevin dynamics of many chains
train   training steps of the split flow with gated attention, of its baseline and of a spline flow
ladder  hybrid Monte Carlo on chignolin's slice; its frames are what the next two learn from
anneal  a flow learns by example, particles are annealed from it
learn   the flow goes on from its own samples

and by --only, where OpenMM is:

run     `jbg run alanine-dipeptide` (quick preset), wall and compile seconds by stage; kept in --work
flow    the spline flow of that run (of a small one where there is none): training, samples, densities; RealNVP
coords  internal coordinates of alanine dipeptide and of BPTI

Lines go to --out too, appended. --small: sizes that show on a CPU that it works.
"""

import argparse
import importlib
import importlib.util
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import jax
from record import failure, report

# where each part is
PARTS = {
    "energy": "accelerator_molecules:energy",
    "md": "accelerator_molecules:md",
    "train": "accelerator_training:train",
    "ladder": "accelerator_slice:ladder",
    "anneal": "accelerator_annealing:annealing",
    "learn": "accelerator_learning:learn",
    "run": "accelerator_flows:whole_run",
    "flow": "accelerator_flows:flow",
    "coords": "accelerator_molecules:coords",
}
WITH_OPENMM = ("run", "flow", "coords")
USUAL = tuple(part for part in PARTS if part not in WITH_OPENMM)
# of the seconds; what a part leaves goes to those after it
SHARES = {"energy": 0.17, "md": 0.09, "train": 0.25, "ladder": 0.09, "anneal": 0.21, "learn": 0.19}
SHARES |= {"run": 0.45, "flow": 0.22, "coords": 0.05}
GRACE = 15.0  # seconds past its share after which a part is killed: a case may be under way
LEAST = 10.0  # seconds that a part is worth starting with


def run_here(part: str, args: argparse.Namespace) -> None:
    """All cases of a part in this process, as far as its seconds reach."""
    deadline = time.monotonic() + args.seconds
    module, cases = PARTS[part].split(":")
    for name, case in getattr(importlib.import_module(module), cases)(args):
        if time.monotonic() > deadline:
            keep(failure(name, f"no time left of {args.seconds:.0f} s"))
            continue
        try:
            case()
        except Exception as error:  # noqa: BLE001  the other figures are wanted all the same
            lines = str(error).strip().splitlines() or [""]
            keep(failure(name, f"{type(error).__name__}: {lines[0][:300]}"))
    memory(part)


def run_apart(part: str, args: argparse.Namespace, seconds: float) -> None:
    """The part in a process of its own; this one must not hold the device."""
    command = [sys.executable, __file__, "--here", "--only", part, "--seconds", f"{seconds:.0f}"]
    command += ["--work", str(args.work), "--prepared", str(args.prepared)]
    command += ["--small"] if args.small else []
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


def memory(part: str) -> None:
    """The most that this process held on the device at once, where JAX counts it."""
    peaks = [device.memory_stats() or {} for device in jax.devices()]
    peak = max(stats.get("peak_bytes_in_use", math.nan) for stats in peaks)
    if math.isfinite(peak):
        report(f"{part}/peak_memory", peak / 2**20, "MiB")


def keep(line: str, out: Path | None = None) -> None:
    print(line, end="", flush=True)
    if out and line.startswith("{"):
        with out.open("a", encoding="utf-8") as file:
            file.write(line)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", type=Path, metavar="FILE", help="write the file, and no more")
    parser.add_argument("--prepared", type=Path, default=Path("runs/accelerator.npz"))
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=USUAL)
    parser.add_argument("--out", type=Path, help="a file that the lines are added to")
    parser.add_argument("--seconds", type=float, default=515.0, help="for everything together")
    parser.add_argument("--work", type=Path, help="folder of runs; a temporary one unless given")
    parser.add_argument("--commit", help="of a copy of the source without its .git")
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument("--here", action="store_true", help="in this process, without --out")
    args = parser.parse_args()
    if not args.prepare and set(args.only) - {"run", "flow"} and not args.prepared.exists():
        parser.error(f"there is no {args.prepared}: write it with --prepare where OpenMM is")
    return args


def main() -> None:
    args = arguments()
    if args.prepare:
        importlib.import_module("accelerator_prepare").prepare(args.prepare, small=args.small)
        return
    if args.commit:
        os.environ["JBG_COMMIT"] = args.commit
    begin, has_openmm = time.monotonic(), importlib.util.find_spec("openmm") is not None
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        args.work = args.work or Path(folder)
        args.work.mkdir(parents=True, exist_ok=True)
        for i, part in enumerate(args.only):
            left = args.seconds + begin - time.monotonic() - GRACE
            seconds = left * SHARES[part] / sum(SHARES[later] for later in args.only[i:])
            if args.here:
                run_here(part, args)
            elif part in WITH_OPENMM and not has_openmm:
                keep(failure(part, "needs OpenMM, which is not installed"), args.out)
            elif seconds < LEAST:
                keep(failure(part, f"no time left of {args.seconds:.0f} s"), args.out)
            else:
                run_apart(part, args, seconds)


if __name__ == "__main__":
    main()
