"""Processes find each other, or end with one line that says what is wrong, before any work."""

import concurrent.futures
import socket
import time

import pytest

from jbg.cli import main as cli
from jbg.interfaces import ConfigError
from jbg.processes.meeting import meet
from jbg.processes.place import Place
from tests.processes.together import free_port


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setenv("JBG_MEET_SECONDS", "1")


def places(n, count=None, port=None):
    port = port or free_port()
    return [Place(i, count or n, "127.0.0.1", port) for i in range(n)]


def meeting(*given):
    """What each of (place, about) finds: its connections and an address, or its error."""

    def one(place, about):
        try:
            return meet(place, about)
        except ConfigError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(lambda args: one(*args), given))


def test_all_are_connected_to_the_first():
    (hub, where), *others = meeting(*((place, "x") for place in places(3)))
    assert sorted(hub) == [1, 2]
    assert [address for _, address in others] == [where, where]
    for i, (links, _) in enumerate(others, 1):
        hub[i].say(f"you are {i}")
        assert links[0].read() == [f"you are {i}"]
        links[0].close()
        assert hub[i].read() is None


def test_strangers_at_the_door_do_no_harm():
    zero, one = places(2)

    def stranger():
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"{}\n"):
            while True:
                try:
                    link = socket.create_connection((zero.host, zero.port))
                except OSError:
                    time.sleep(0.02)
                    continue
                break
            with link:
                link.sendall(text)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(meet, zero, "x")
        pool.submit(stranger).result()
        links, _ = pool.submit(meet, one, "x").result()
        assert sorted(first.result()[0]) == [1]
        assert sorted(links) == [0]


def test_whoever_does_not_fit_is_refused():
    zero, one = places(2)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(meet, zero, "x")
        with pytest.raises(ConfigError, match="process 0 has --processes 2, process 1 has 3"):
            meet(one._replace(count=3), "x")
        meet(one, "x")  # whoever was refused is in nobody's way
        assert sorted(first.result()[0]) == [1]
    zero, one = places(2)
    first, other = meeting((zero, "jbg 1"), (one, "jbg 2"))
    assert "process 0 has jbg 1, process 1 has jbg 2" in other
    assert "1 of 2 processes came" in first
    assert "missing: 1: start them all" in first


def refused(capsys, *arguments):
    begin = time.monotonic()
    assert cli.main(["run", "double-well", *map(str, arguments)]) == 2
    assert time.monotonic() - begin < 20
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("address", ["127.0.0.1", "no-such-host.invalid"])
def test_a_wrong_address_is_one_line(address, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    at = f"{address}:{free_port()}"
    err = refused(capsys, "--coordinator", at, "--processes", 2, "--process", 1)
    assert f"no process 0 at {at} within 1 s" in err
    assert "check --coordinator" in err
    assert not list(tmp_path.iterdir())  # no work has begun


def test_an_address_of_another_machine_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    err = refused(capsys, "--coordinator", "192.0.2.1:4711", "--processes", 2, "--process", 0)
    assert "process 0 cannot listen at 192.0.2.1:4711" in err
    assert "an address of the machine of process 0" in err
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        at = f"127.0.0.1:{server.getsockname()[1]}"
        err = refused(capsys, "--coordinator", at, "--processes", 2, "--process", 0)
        assert f"process 0 cannot listen at {at}" in err
        err = refused(capsys, "--coordinator", at, "--processes", 2, "--process", 1)
        assert f"no process 0 of this run at {at}" in err


def test_a_process_that_does_not_come_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    at = f"127.0.0.1:{free_port()}"
    err = refused(capsys, "--coordinator", at, "--processes", 3, "--process", 0)
    assert "1 of 3 processes came" in err
    assert "missing: 1, 2" in err


def test_what_cannot_be_is_refused_by_the_command(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "need --coordinator" in refused(capsys, "--processes", 2)
    at = ("--coordinator", "127.0.0.1:1", "--processes", 2)
    assert "--process must lie between 0 and 1" in refused(capsys, *at, "--process", 2)
    monkeypatch.setenv("XLA_FLAGS", "")  # JAX has started: its devices stay as they are
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "--devices 100: JAX finds" in refused(capsys, "--devices", 100)
    assert not list(tmp_path.iterdir())
