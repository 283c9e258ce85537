"""The code in README runs, and says what it should."""

import re
from pathlib import Path

import jbg

README = Path(__file__).parents[1] / "README.md"


def python_blocks() -> list[str]:
    text = README.read_text()
    return re.findall(r"```python\n(.*?)```", text.split("<!-- python-example -->")[1], re.DOTALL)


def test_the_python_example_finds_the_exact_free_energy(capsys):
    names: dict = {}
    # the exact difference is 3.380 kT; a quarter of the steps is enough to come near
    code = python_blocks()[0].replace("steps=1000", "steps=250")
    exec(compile(code, str(README), "exec"), names)
    assert abs(names["difference"].value - 3.380) < 0.15
    assert re.search(r"ESS 0\.\d\d, F\(right\) - F\(left\) = 3\.\d\d", capsys.readouterr().out)


def test_the_second_example_names_real_functions():
    assert {"open_run", "make_config", "run_all"} <= set(jbg.__all__)
    assert all(getattr(jbg, name) is not None for name in jbg.__all__)
    assert "jbg.run_all(run)" in python_blocks()[1]


def test_the_example_is_about_twenty_lines():
    lines = [line for line in python_blocks()[0].splitlines() if line.strip()]
    assert len(lines) <= 24
