"""Compiled programs are kept for the next run, quietly, where there is a place for them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jbg.cli.compiled import keep_compiled, prune

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from jbg.cli import main as cli
cli._set_environment()
import jax
counts = {"/jax/compilation_cache/cache_hits": 0, "/jax/compilation_cache/cache_misses": 0}
jax.monitoring.register_event_listener(lambda name, **_: counts.update({name: counts.get(name, 0) + 1}))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: jax.numpy.sin(x) @ x.T)(jax.numpy.ones((30, 30))).block_until_ready()
print(counts["/jax/compilation_cache/cache_hits"] > 0)
"""


def run(home):
    drop = ("JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL", "XDG_CACHE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**kept, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip(), done.stderr


def test_a_second_process_compiles_nothing_and_says_nothing(tmp_path):
    assert run(tmp_path) == ("False", "")
    assert run(tmp_path) == ("True", "")
    assert list((tmp_path / ".cache" / "jbg").iterdir())


def test_what_the_user_has_set_stays(tmp_path):
    environment = {"JAX_COMPILATION_CACHE_DIR": "mine", "TF_CPP_MIN_LOG_LEVEL": "0"}
    keep_compiled(environment)
    assert environment["JAX_COMPILATION_CACHE_DIR"] == "mine"
    assert environment["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_without_a_place_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    environment = {}
    keep_compiled(environment)
    assert "JAX_COMPILATION_CACHE_DIR" not in environment


@pytest.mark.parametrize("limit", [0, 25, 1000])
def test_what_was_read_longest_ago_goes_first(tmp_path, limit):
    for age in range(5):
        file = tmp_path / f"{age}"
        file.write_bytes(bytes(10))
        os.utime(file, (1e9 - age, 1e9 - age))
    prune(tmp_path, limit)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        str(i) for i in range(min(5, limit // 10))
    ]
