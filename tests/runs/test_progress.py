"""The progress bar: plain lines where there is no terminal, a bar where there is one."""

import io
import re
import time

import pytest
from rich.console import Console

from jbg import runs
from jbg.runs import progress as module
from jbg.runs.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told to."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "LINE_SECONDS", 10.0)
    return now


def _console(*, terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=160, highlight=False)


def test_plain_lines_come_at_most_every_ten_seconds(clock):
    console = _console(terminal=False)
    with progress(None, "train: nll", total=100, console=console) as bar:
        for step in range(0, 101):
            bar.update(step, loss=2.0, ess=0.123456, skipped=None)
            clock[0] += 0.5
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 5  # at 10.5, 21, 31.5, 42 s, and the last step
    assert lines[0].startswith("train: nll  21/100  loss 2  ess 0.1235  ")
    assert lines[0].endswith("40 s left")  # 79 steps of 0.5 s
    assert "100/100" in lines[-1]
    assert "left" not in lines[-1]


def test_time_left_is_of_the_last_minute_and_not_of_compilation(clock):
    console = _console(terminal=False)
    with progress(None, "train", total=1000, console=console) as bar:
        bar.update(0)
        clock[0] += 120.0  # the first step compiles
        bar.update(1)
        for step in range(2, 500):
            clock[0] += 1.0 if step < 250 else 3.0
            bar.update(step)
    lines = console.file.getvalue().splitlines()
    assert "left" not in lines[0]
    assert lines[1].endswith("16.5 min left")  # 988 steps of 1 s
    assert lines[-1].endswith("25.1 min left")  # 502 steps of 3 s


def test_every_stage_compiles_before_it_tells_the_time_left(clock):
    console = _console(terminal=False)
    with progress(None, "train", total=200, console=console) as bar:
        for begin in (0, 100):
            bar.update(begin)  # a stage repeats the last step of the one before
            clock[0] += 90.0
            for step in range(begin + 1, begin + 101):
                bar.update(step)
                clock[0] += 1.0
    lines = console.file.getvalue().splitlines()
    assert ["left" in line for line in lines[8:13]] == [True, True, False, True, True]
    assert all(float(re.search(r"(\S+) (min|s) left", x)[1]) <= 100 for x in lines if "left" in x)
    assert lines[11].endswith("88 s left")


def test_quiet_shows_nothing(clock):
    console = _console(terminal=False)
    with progress(None, "train", total=3, quiet=True, console=console) as bar:
        clock[0] += 60.0
        bar.update(3, loss=1.0)
    assert console.file.getvalue() == ""


def test_a_terminal_gets_a_bar_with_values():
    console = _console(terminal=True)
    with progress(None, "train: kl", total=10, console=console) as bar:
        bar.update(4, loss=1.5)
        bar.update(5, loss=1.25)
    shown = console.file.getvalue()
    assert "train: kl" in shown
    assert "5/10" in shown
    assert "loss 1.25" in shown


def test_wall_time_is_saved_on_the_way(clock, tmp_path):
    run = runs.open_run(tmp_path / "a", {"seed": 0})
    with run.stage("train"), progress(run, "train", total=3, quiet=True) as bar:
        clock[0] += 30.0
        bar.update(1)
        assert run.wall_seconds("train") is None
        clock[0] += 40.0
        bar.update(2)
        assert run.wall_seconds("train") == 70.0
        clock[0] += 5.0
    assert run.wall_seconds("train") == 75.0


def test_nothing_is_silent_while_a_program_compiles(clock, monkeypatch):
    """Seconds of a clock that runs a thousand times faster."""
    monkeypatch.setattr(module, "TICK_SECONDS", 0.002)
    console = _console(terminal=False)
    with progress(None, "train", total=300, console=console) as bar:
        for _ in range(40):
            time.sleep(0.01)
            clock[0] += 1.0
        for step in (0, 20, 40):
            bar.update(step)
        for _ in range(20):
            time.sleep(0.01)
            clock[0] += 1.0
    lines = console.file.getvalue().splitlines()
    assert 3 <= len(lines) <= 8
    assert re.fullmatch(r"train  0/300  compiling, \d+ s", lines[0])
    assert any(re.fullmatch(r"train  40/300  at work, \d+ s", line) for line in lines)


def test_work_without_steps_says_how_long_it_takes(clock, monkeypatch):
    monkeypatch.setattr(module, "TICK_SECONDS", 0.002)
    console = _console(terminal=False)
    with progress(None, "evaluate", total=0, console=console):
        for _ in range(30):
            time.sleep(0.01)
            clock[0] += 1.0
    lines = console.file.getvalue().splitlines()
    assert lines
    assert all(re.fullmatch(r"evaluate  at work, \d+ s", line) for line in lines)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_resumed_stage_says_where(clock, terminal):
    console = _console(terminal=terminal)
    with progress(None, "train", total=300, console=console) as bar:
        bar.resume(120)
    assert "train  resumed at 120 of 300" in console.file.getvalue()
    console = _console(terminal=terminal)
    with progress(None, "train", total=300, console=console) as bar:
        bar.resume(0)
    assert "resumed" not in console.file.getvalue()
