"""Blocks of an annealing on disk: resumed, extended, refused."""

import dataclasses

import jax
import numpy as np
import pytest

from jbg.interfaces import ConfigError, Target
from jbg.sampling.annealing import anneal, anneal_back
from jbg.sampling.annealing_pilot import find_steps
from jbg.sampling.annealing_program import make_annealer
from jbg.sampling.annealing_settings import Annealing
from tests.sampling.test_annealing import frames_of_two_pairs, pair_energy, plain_map


def test_a_run_that_was_stopped_ends_with_the_same_bits(tmp_path):
    target = Target(dim=2, reduced_energy=lambda x: pair_energy(x[0], x[1]))
    settings = Annealing(n_particles=96, batch=32, n_levels=3)
    annealer = make_annealer(plain_map(), target, settings)
    key, frames = jax.random.key(2), frames_of_two_pairs(2, 20)[..., [0, 2]]

    def run(folder, on_block=lambda done: None):
        steps = find_steps(jax.random.key(1), (), annealer, folder=folder)
        found = anneal(key, (), annealer, steps, folder=folder, on_block=on_block)
        return *steps, *found, *anneal_back(key, (), annealer, steps, frames, folder=folder)

    def stop(done):
        if done == 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", stop)
    assert len(list((tmp_path / "a").glob("forward-*.npz"))) == 2
    seen = []
    for again in (run(tmp_path / "a", seen.append), run(tmp_path / "a"), run(None)):
        for one, other in zip(again, run(tmp_path / "b"), strict=True):
            np.testing.assert_array_equal(one, other)
    assert seen == [32, 64, 96]
    steps = find_steps(jax.random.key(1), (), annealer)
    with pytest.raises(ConfigError, match="other parameters, settings, steps, frames or another"):
        anneal(jax.random.key(9), (), annealer, steps, folder=tmp_path / "a")
    more = dataclasses.replace(settings, n_particles=128)
    longer = dataclasses.replace(annealer, settings=more)
    found = anneal(key, (), longer, steps, folder=tmp_path / "a")  # what is there is kept
    np.testing.assert_array_equal(found.log_w[:96], run(tmp_path / "b")[5])
    (tmp_path / "a" / "forward-00001.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match="damaged"):
        anneal(key, (), annealer, steps, folder=tmp_path / "a")
