"""How many devices a process uses: the environment that JAX starts from, and the check of what it found."""

import jax
import pytest

from jbg.interfaces import ConfigError
from jbg.processes.devices import GPUS, check_devices, choose_devices
from jbg.processes.place import Place

FOUR_OF_A_NODE = [Place(i, 8, "a", 1, neighbour=i, neighbours=4) for i in range(4)]


def chosen(devices, place=None, **environment):
    choose_devices(devices, place, environment)
    return environment


def test_a_cpu_is_split():
    assert chosen(8)["XLA_FLAGS"] == "--xla_force_host_platform_device_count=8"
    before = "--xla_a=1 --xla_force_host_platform_device_count=2 --xla_b=2"
    flags = chosen(3, XLA_FLAGS=before)["XLA_FLAGS"]
    assert flags == "--xla_a=1 --xla_b=2 --xla_force_host_platform_device_count=3"
    assert chosen(None, XLA_FLAGS=before) == {"XLA_FLAGS": before}


def test_the_first_gpus():
    assert chosen(2)[GPUS] == "0,1"
    assert chosen(2, **{GPUS: "4,5,6"})[GPUS] == "4,5"
    assert chosen(2, **{GPUS: ""})[GPUS] == ""  # none are to be seen


def test_processes_on_one_machine_share_the_gpus_that_all_see():
    shares = [chosen(None, place, **{GPUS: "0,1,2,3"})[GPUS] for place in FOUR_OF_A_NODE]
    assert shares == ["0", "1", "2", "3"]
    shares = [chosen(None, place, **{GPUS: "0,1,2,3,4,5,6,7"})[GPUS] for place in FOUR_OF_A_NODE]
    assert shares == ["0,1", "2,3", "4,5", "6,7"]
    assert chosen(None, FOUR_OF_A_NODE[3], **{GPUS: "3"})[GPUS] == "3"  # SLURM bound it


def test_bad_numbers_are_refused():
    with pytest.raises(ConfigError, match="--devices must be 1 or more, got 0"):
        chosen(0)
    there = len(jax.local_devices())
    check_devices(there)
    check_devices(None)
    with pytest.raises(ConfigError, match=f"--devices 100: JAX finds {there} .*: choose {there}"):
        check_devices(100)
