"""Where a process stands among others: as options, SLURM and Open MPI say, and what is refused."""

import pytest

from jbg.interfaces import ConfigError
from jbg.processes.place import Place, find_place

SLURM = {
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_PROCID": "5",
    "SLURM_STEP_NODELIST": "gpu[007-008,12]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
    "SLURM_NODEID": "2",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


def test_options_say_it():
    assert find_place("node1:4711", 3, 2, {}) == Place(2, 3, "node1", 4711)
    assert find_place("[fe80::1]:4711", 2, 0, {}).host == "fe80::1"
    assert find_place("[fe80::1]:4711", 2, 0, {}).address == "[fe80::1]:4711"


def test_alone():
    assert find_place(None, None, None, {}) is None
    assert find_place("node1:4711", 1, 0, {}) is None
    assert find_place(None, None, None, SLURM | {"SLURM_STEP_NUM_TASKS": "1"}) is None
    # a batch script, not started by srun, of a job with several tasks
    assert find_place(None, None, None, {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) is None


def test_slurm_says_it():
    place = find_place(None, None, None, SLURM)
    assert place[:3] == (5, 6, "gpu007")
    assert (place.neighbour, place.neighbours) == (1, 2)
    others = [SLURM | {"SLURM_PROCID": str(i), "SLURM_NODEID": str(i // 2)} for i in range(6)]
    places = [find_place(None, None, None, each) for each in others]
    assert {p.address for p in places} == {place.address}
    another = find_place(None, None, None, SLURM | {"SLURM_STEP_ID": "1"})
    assert another.port != place.port  # two steps of a job at once
    assert 1024 < place.port < 65536


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node001", "node001"),
        ("node001,host2", "node001"),
        ("node[001-015],host2", "node001"),
        ("rack1-[3,007-015]-gpu,host2", "rack1-3-gpu"),
    ],
)
def test_the_first_node_of_slurm(nodes, first):
    assert find_place(None, None, None, SLURM | {"SLURM_STEP_NODELIST": nodes}).host == first


def test_open_mpi_says_it():
    uri = "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"
    place = find_place(None, None, None, OPEN_MPI | {"OMPI_MCA_orte_hnp_uri": uri})
    assert place[:3] == (3, 4, "10.96.0.1")
    assert (place.neighbour, place.neighbours) == (1, 2)
    here = OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "PMIX_NAMESPACE": "prterun-x-12@1"}
    assert find_place(None, None, None, here).host == "127.0.0.1"
    assert find_place("node1:80", None, None, OPEN_MPI)[:4] == (3, 4, "node1", 80)
    with pytest.raises(ConfigError, match="Open MPI does not tell .* add --coordinator"):
        find_place(None, None, None, OPEN_MPI)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, 2, 0), "--processes and --process need --coordinator HOST:PORT"),
        ((None, None, 1), "--processes and --process need --coordinator HOST:PORT"),
        (("node1:4711", None, None), "--coordinator needs --processes N and --process I"),
        (("node1:4711", 2, None), "--coordinator needs --processes N and --process I"),
        (("node1:4711", 2, 2), "--process must lie between 0 and 1 of --processes 2, got 2"),
        (("node1:4711", 2, -1), "--process must lie between 0 and 1 of --processes 2, got -1"),
        (("node1:4711", 0, 0), "--processes must be 1 or more, got 0"),
        (("node1", 2, 0), "must be HOST:PORT .* got 'node1'"),
        (("node1:port", 2, 0), "must be HOST:PORT"),
        ((":4711", 2, 0), "must be HOST:PORT"),
        (("node1:65536", 2, 0), "port from 1 to 65535"),
    ],
)
def test_bad_input_is_refused(given, message):
    with pytest.raises(ConfigError, match=message) as error:
        find_place(*given, {})
    assert "\n" not in str(error.value)
