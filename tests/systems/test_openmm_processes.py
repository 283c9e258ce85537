"""Processes give what threads give, end with their parent, and say why when they cannot."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jbg.systems import openmm_probe
from jbg.systems.openmm_pool import ContextPool
from jbg.systems.openmm_probe import open_pool, probe
from jbg.systems.openmm_processes import ProcessPool

pytestmark = pytest.mark.openmm


@pytest.fixture(scope="module")
def molecule(alanine_dipeptide):
    return alanine_dipeptide


@pytest.fixture(scope="module")
def frames(molecule):
    rng = np.random.default_rng(0)
    frames = molecule.positions + 0.005 * rng.normal(size=(13, 22, 3))
    frames[4, 2, 1] = np.nan
    return frames


def test_processes_give_what_threads_give(molecule, frames, monkeypatch):
    with ContextPool(molecule.system_xml, n_workers=1) as pool:
        energy, force = pool.energies_and_forces(frames)
    # five configurations fit the shared memory: three rounds
    monkeypatch.setattr("jbg.systems.openmm_processes.CAPACITY_MIB", 5.5 * 8 * 133 / 2**20)
    with ProcessPool(molecule.system_xml, n_workers=2) as pool:
        assert pool.platform == "Reference"
        found = pool.energies_and_forces(frames)
        alone = pool.energies(frames)
        none = pool.energies_and_forces(frames[:0])
        with pytest.raises(ValueError, match=r"expected shape \(B, 22, 3\), got \(13, 66\)"):
            pool.energies(frames.reshape(13, -1))
    np.testing.assert_array_equal(found[0], energy)
    np.testing.assert_array_equal(found[1], force)
    np.testing.assert_array_equal(alone, energy)
    assert np.isnan(energy[4])
    assert none[0].shape == (0,)


def test_bad_choices(molecule):
    with pytest.raises(ValueError, match="no platform 'GPU'; have"):
        ProcessPool(molecule.system_xml, platform="GPU")
    with pytest.raises(ValueError, match="n_workers must be at least 1, got 0"):
        ProcessPool(molecule.system_xml, n_workers=0)


def test_a_process_that_dies_is_an_error_of_one_line(molecule, frames):
    with ProcessPool(molecule.system_xml, n_workers=1) as pool:
        pool._processes[0].kill()
        with pytest.raises(RuntimeError, match="an OpenMM process ended with status -9"):
            pool.energies(frames)


def test_several_threads_may_call_at_once(molecule):
    """As JAX does with several devices."""
    rng = np.random.default_rng(1)
    batches = molecule.positions + 0.01 * rng.normal(size=(6, 40, 22, 3))
    with ProcessPool(molecule.system_xml, n_workers=2) as pool:
        expected = [pool.energies(x) for x in batches]
        with ThreadPoolExecutor(3) as threads:
            found = list(threads.map(pool.energies, batches))
    np.testing.assert_array_equal(found, expected)


def test_a_call_that_was_interrupted_does_not_answer_the_next(molecule, frames):
    with ProcessPool(molecule.system_xml, n_workers=2) as pool:
        expected = pool.energies(frames)
        pool._tell(pool._processes[1], "0 1 0")  # its answer is never read
        np.testing.assert_array_equal(pool.energies(frames), expected)
        assert not any(pool._owed.values())
    with pytest.raises(RuntimeError, match="closed"):
        pool.energies(frames)


def test_where_processes_cannot_be_had_threads_are_taken(molecule, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("ProcessPool: no shared memory")

    monkeypatch.setitem(openmm_probe.POOLS, "processes", refuse)
    monkeypatch.setattr(openmm_probe, "usable_cores", lambda: 2)
    found = probe(molecule.system_xml, molecule.positions, platforms=("Reference",), seconds=0.1)
    assert found["workers"] == "threads"
    assert not any("processes" in name for name in found["evaluations_per_second"])


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _all_end(pids: list[int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while any(map(_is_running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(_is_running, pids))


def test_closing_is_quick_and_leaves_no_process(molecule):
    pool = ProcessPool(molecule.system_xml, n_workers=2)
    pids = [process.pid for process in pool._processes]
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start < 2.0
    assert _all_end(pids, 0.0)
    pool.close()  # again does no harm


@pytest.mark.parametrize("killed", [False, True])
def test_no_process_outlives_its_parent(molecule, tmp_path, killed):
    """Neither one that forgets to close the pool, nor one that is killed; the shared memory goes too."""
    (tmp_path / "system.xml").write_text(molecule.system_xml)
    code = (
        "from jbg.systems.openmm_processes import ProcessPool\n"
        "pool = ProcessPool(open('system.xml').read(), n_workers=2)\n"
        "print(*[p.pid for p in pool._processes], pool._memory.name, flush=True)\n"
        "input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    *pids, name = parent.stdout.readline().split()
    if killed:
        parent.send_signal(signal.SIGKILL)
    else:
        parent.stdin.write("\n")
    parent.communicate(timeout=10)
    assert _all_end([int(pid) for pid in pids], 5.0)
    until = time.monotonic() + 5.0
    while os.path.exists(f"/dev/shm/{name}") and time.monotonic() < until:  # noqa: PTH110
        time.sleep(0.05)
    assert not os.path.exists(f"/dev/shm/{name}")  # noqa: PTH110


def test_probe_says_what_to_use(molecule, frames, monkeypatch):
    monkeypatch.setattr("jbg.systems.openmm_probe.usable_cores", lambda: 2)
    found = probe(molecule.system_xml, molecule.positions, platforms=("Reference",), seconds=0.2)
    speeds = found["evaluations_per_second"]
    chosen = f"{found['platform']} x {found['n_workers']} {found['workers']}"
    assert chosen == max(speeds, key=speeds.get)
    assert any("processes" in name for name in speeds)
    for choice in (found, {"platform": "Reference", "n_workers": 1}):
        with open_pool(molecule.system_xml, choice) as pool:
            assert np.isfinite(pool.energies(frames[:2])).all()
