"""Runs shared by processes on this machine, each with fake devices, for tests."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

# The command line with a small plan, checkpoints after every chunk, and slow enough to be hit.
RUN = """
import functools, sys, time
from jbg import runs
from jbg.cli import main as cli
from jbg.studies import engine, training_run
from tests import tiny

plan = tiny.double_well(steps=40)
engine.make_plan = lambda name, **options: plan
training_run.run_stages = functools.partial(training_run.run_stages, checkpoint_seconds=0.1)
log_metrics = runs.Run.log_metrics

def slow(self, *args, **kwargs):
    log_metrics(self, *args, **kwargs)
    time.sleep(0.3)

runs.Run.log_metrics = slow
sys.exit(cli.main(sys.argv[1:]))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def begin(
    arguments: Sequence[str], n: int, *, program: str = RUN, **variables: str
) -> list[subprocess.Popen]:
    """The command in n processes; n = 1 is a run without others."""
    known = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", str(n)]
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments]
            + ([*known, "--process", str(i)] if n > 1 else []),
            cwd=ROOT,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(n)
    ]


def finish(processes: Sequence[subprocess.Popen], seconds: float = 600) -> list[tuple]:
    """(status, standard output, standard error) of each."""
    found = []
    for process in processes:
        out, err = process.communicate(timeout=seconds)
        found.append((process.returncode, out, err))
    return found


def run(arguments: Sequence[str], n: int) -> list[tuple]:
    found = finish(begin(arguments, n))
    assert all(status == 0 for status, _, _ in found), found
    return found
