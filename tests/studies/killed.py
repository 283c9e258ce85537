"""Runs in processes of their own, for tests that kill them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests import tiny

ROOT = Path(__file__).parents[2]
STEPS = 200
PLANS = {
    "double-well": lambda: tiny.double_well(steps=STEPS),
    "alanine-dipeptide": lambda: tiny.many_samples(tiny.molecule("alanine-dipeptide", steps=STEPS)),
}
TOTAL = 2 * STEPS // 10  # lines of metrics

# A run in a process of its own: checkpoints after every chunk, and slow enough to be hit.
RUN = """
import functools, sys, time
from jbg.cli import main as cli
from jbg import runs
from jbg.studies import engine, training_run
from jbg.sampling import generate
from tests.studies import killed

name = sys.argv[2]
plan = killed.PLANS[name]()
if name == "alanine-dipeptide":
    from jbg.studies.molecule import source

    source.CHECKPOINT_SECONDS = 0.0
generate.BLOCKS_PER_FLUSH = 1
engine.make_plan = lambda name, **options: plan
training_run.run_stages = functools.partial(training_run.run_stages, checkpoint_seconds=0.1)
log_metrics = runs.Run.log_metrics

def slow(self, *args, **kwargs):
    log_metrics(self, *args, **kwargs)
    time.sleep(0.05)

runs.Run.log_metrics = slow
sys.exit(cli.main(["run", name, "--quiet", "--out", sys.argv[1]]))
"""


def begin(folder, name="double-well"):
    """The run in a process of its own; what one compiled the next reads, from beside the folder.

    One that is killed while it writes a program must not spoil the folder of all tests.
    """
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled")}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), name],
        cwd=ROOT,
        env=os.environ | cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(process, ready, seconds=600):
    end = time.monotonic() + seconds
    while not ready() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)


def lines(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def kill_at(
    folder: Path, name: str, moments: Iterable[tuple[Callable, int]], rng: random.Random
) -> None:
    """Begins the run again and again, and kills it when each count of what is in the folder is reached."""
    for count, moment in moments:
        process = begin(folder, name)
        wait_until(process, lambda count=count, n=moment: count(folder) >= n)
        time.sleep(rng.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL


def finish(folder: Path, name: str) -> None:
    process = begin(folder, name)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
