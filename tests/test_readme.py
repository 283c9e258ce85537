"""The code in README runs, and says what it should."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jbg

README = Path(__file__).parents[1] / "README.md"


def python_blocks() -> list[str]:
    text = README.read_text()
    return re.findall(r"```python\n(.*?)```", text.split("<!-- python-example -->")[1], re.DOTALL)


@pytest.mark.study
def test_the_python_example_finds_the_exact_free_energy():
    # the exact difference is 3.380 kT; half of the steps are enough to come near
    code = python_blocks()[0].replace("steps=1000", "steps=500")
    # in a process of its own, as a user's: with the optimisations that the tests' processes leave out
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"ESS 0\.\d\d, F\(right\) - F\(left\) = (3\.\d\d) \+-", done.stdout)
    assert abs(float(found[1]) - 3.380) < 0.15


def test_the_second_example_names_real_functions():
    assert {"open_run", "make_plan", "run_all"} <= set(jbg.__all__)
    assert all(getattr(jbg, name) is not None for name in jbg.__all__)
    assert "jbg.run_all(run)" in python_blocks()[1]


def test_the_example_is_about_twenty_lines():
    lines = [line for line in python_blocks()[0].splitlines() if line.strip()]
    assert len(lines) <= 24
