"""One run by one process and by two, with as many devices: the same numbers, also after one of them was killed."""

import json
import shutil
import signal
import time

import numpy as np
import pytest

from jbg import runs
from jbg.sampling.generate import FILES, Ensemble
from tests.processes.together import begin, finish, run
from tests.studies.killed import lines
from tests.studies.same_run import assert_same_run

pytestmark = pytest.mark.study


def command(folder, devices, what="run"):
    system = ["double-well", "--out"] if what == "run" else []
    return [what, *system, str(folder), "--quiet", "--devices", str(devices)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run of one device, of 8 in one process, and of 4 in each of two."""
    root = tmp_path_factory.mktemp("shared")
    for name, devices, n in (("one", 1, 1), ("eight", 8, 1), ("two", 4, 2)):
        out = run(command(root / name, devices), n)
        if n == 2:
            assert "ESS fraction" in out[0][1]
            assert "[Gloo]" not in out[0][1]
            assert out[1][1:] == ("", "")  # the first speaks for all
    return root


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["eight", "two"])
def test_losses_are_those_of_one_device(name, made):
    found, expected = metrics(made / name), metrics(made / "one")
    assert [(r["stage"], r["step"]) for r in found] == [(r["stage"], r["step"]) for r in expected]
    for a, b in zip(found, expected, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("devices", "n"), [(8, 1), (4, 2)])
def test_samples_of_the_same_flow_are_the_same_bits(devices, n, made, tmp_path):
    """By global index: from the parameters that one device has trained."""
    shutil.copytree(made / "one", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "samples")
    run(command(tmp_path / "run", devices, "sample"), n)
    folder = Ensemble().folder
    for file in FILES:
        found, expected = (
            np.load(path / folder / f"{file}.npy") for path in (tmp_path / "run", made / "one")
        )
        assert len(found) == 2000
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow  # tests/processes/test_guard.py kills guards and workers without JAX every day
@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_ends_the_other_and_the_run_resumes(lost, made, tmp_path):
    folder = tmp_path / "run"
    processes = begin(command(folder, 4), 2)
    end = time.monotonic() + 600
    while lines(folder) < 5:
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    processes[lost].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    found = finish(processes, 30)
    assert time.monotonic() - killed < 30
    status, _, err = found[1 - lost]
    assert status == 1
    assert err == f"jbg: error: process {lost} has ended: run the same command again to resume\n"
    assert lines(folder) < 8
    assert list((folder / "checkpoints").iterdir())
    run(command(folder, 4), 2)
    assert_same_run(runs.load_run(folder), runs.load_run(made / "two"))


def test_an_error_of_all_keeps_its_line_and_status(made):
    """Another plan than that of the folder, which each process finds."""
    found = finish(begin([*command(made / "two", 4), "--seed", "3"], 2, program=PLAIN))
    assert [status for status, _, _ in found] == [2, 2]
    assert "holds a run with" in found[0][2]
    assert found[0][2].count("\n") == 1


PLAIN = "import sys\nfrom jbg.cli import main as cli\nsys.exit(cli.main(sys.argv[1:]))"


LATE = """
import sys, time
import jax, numpy as np
from jbg.processes import worker
from jbg.processes.share import share

def work():
    from jbg.training.mesh import device_mesh, fetch, replicate, spread
    mesh = device_mesh()
    if jax.process_index() == 1:
        time.sleep(float(sys.argv[1]))
    x = replicate(np.arange(5.0, dtype=np.float32), mesh)
    doubled = jax.jit(lambda x: 2 * spread(x, mesh))(x)
    print(fetch(doubled).tolist(), int(mesh.size))
    return 0

coordinator, processes, process = sys.argv[3], int(sys.argv[5]), int(sys.argv[7])
status = share(work, devices=2, coordinator=coordinator, processes=processes, process=process)
if worker._here is not None:
    worker.leave(status)
sys.exit(status)
"""


@pytest.mark.slow
def test_a_process_may_be_later_than_gloo_waits_to_connect():
    (status, out, err), (other, _, _) = finish(begin(["45"], 2, program=LATE))
    assert (status, other) == (0, 0), err
    assert out == "[0.0, 2.0, 4.0, 6.0, 8.0] 4\n"
