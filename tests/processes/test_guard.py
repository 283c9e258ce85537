"""Guards without JAX: all end with one line when a process is killed, fails or goes astray; who reads waits."""

import os
import signal
import time
from pathlib import Path

import pytest

from jbg.processes import worker
from tests.processes.together import begin, finish

# A worker that only does what it is told; ``argv`` ends as that of `together.begin`.
WORKER = """
import json, os, pathlib, socket, sys, time
from jbg.processes import WORKER, guard, worker
from jbg.processes.meeting import Lines
from jbg.processes.place import find_place

what, folder, *rest = sys.argv[1:]
index = int(rest[-1])
if WORKER not in os.environ:
    place = find_place(rest[1], int(rest[3]), index, {})
    sys.exit(guard.keep(place, about="x"))
told = json.loads(os.environ[WORKER])
worker._here = worker._Worker(told["index"], Lines(socket.socket(fileno=told["channel"])))
folder = pathlib.Path(folder)

@worker.by_writer
def write(text):
    time.sleep(0.2)
    (folder / "file").write_text(text)

if what == "write":
    assert not (folder / "file").exists()
    write("first")
    assert (folder / "file").read_text() == "first"
    write("second")
    assert (folder / "file").read_text() == "second"
    sys.exit(0)
worker.meet("all are here")
(folder / str(index)).write_text(str(os.getpid()))
if what == "fail" and index == 1:
    sys.exit(7)
worker.meet(f"place of {index}" if what == "astray" else "never")
time.sleep(60 if index == 1 else 0)
worker.meet("never")
"""


def started(what, folder, n=3):
    return begin([what, str(folder)], n, program=WORKER)


def workers(folder: Path, n: int) -> list[int]:
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < n:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.1)
    return [int((folder / str(i)).read_text()) for i in range(n)]


def at_work(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")  # a zombie is there until its parent has asked
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_files_are_there_when_the_others_read_them(tmp_path):
    assert [status for status, _, _ in finish(started("write", tmp_path))] == [0, 0, 0]


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks Linux what is at work")
@pytest.mark.parametrize(
    ("of", "lost"),
    [
        ("worker", 1),
        pytest.param("worker", 0, marks=pytest.mark.study),
        pytest.param("guard", 0, marks=pytest.mark.study),
        pytest.param("guard", 1, marks=pytest.mark.study),
    ],
)
def test_a_killed_process_ends_the_others_with_one_line(of, lost, tmp_path):
    processes = started("hang", tmp_path)
    pids = workers(tmp_path, 3)
    os.kill(pids[lost] if of == "worker" else processes[lost].pid, signal.SIGKILL)
    begin = time.monotonic()
    found = finish(processes, 30)
    assert time.monotonic() - begin < 10
    how = "was killed by signal 9" if of == "worker" else "has ended"
    line = f"jbg: error: process {lost} {how}: run the same command again to resume\n"
    for i, (status, _, err) in enumerate(found):
        if i == lost and of == "guard":
            assert status == -signal.SIGKILL
        else:
            assert (status, err) == (1, line)
    assert not any(at_work(pid) for pid in pids)


@pytest.mark.study
def test_a_failure_is_told_and_keeps_its_status(tmp_path):
    found = finish(started("fail", tmp_path), 30)
    line = "jbg: error: process 1 failed with status 7: run the same command again to resume\n"
    assert [(status, err) for status, _, err in found] == [(1, line), (7, ""), (1, line)]


@pytest.mark.study
def test_processes_that_go_different_ways_end(tmp_path):
    found = finish(started("astray", tmp_path), 30)
    assert all(status == 1 for status, _, _ in found)
    assert all("went another way than others (place of 0, place of 1" in err for _, _, err in found)


@pytest.mark.study
def test_a_guard_that_is_asked_to_end_ends_all(tmp_path):
    processes = started("hang", tmp_path, 2)
    workers(tmp_path, 2)
    processes[1].terminate()
    (status, _, err), (own, _, _) = finish(processes, 30)
    assert (status, own) == (1, 128 + signal.SIGTERM)
    assert "process 1 has ended" in err


def test_a_single_process_writes_and_waits_for_nobody():
    made = []
    assert worker.is_writer()
    assert worker.is_alone()
    worker.meet("anywhere")
    worker.by_writer(made.append)(1)
    worker.writer_only(made.append)(2)
    assert made == [1, 2]
