"""The one schema of simulated configurations: rows and chains, and files that cannot be trusted."""

import numpy as np
import pytest

from jbg import runs
from jbg.interfaces import ConfigError
from jbg.studies.dataset import (
    ASIDE,
    FRAMES,
    LEARN,
    WATCH,
    Dataset,
    concatenate,
    load_dataset,
)

N_CHAINS, N_FRAMES, DIM = 3, 4, 2


@pytest.fixture
def run(tmp_path):
    return runs.open_run(tmp_path / "a", {"seed": 0})


@pytest.fixture
def chains():
    """Coordinates that say whose they are: chain + frame / 10."""
    of = np.arange(N_CHAINS)[:, None] + np.arange(N_FRAMES) / 10
    return np.repeat(of[..., None], DIM, axis=-1).astype(np.float32)


@pytest.fixture
def data(chains):
    hot = Dataset.of_chains(chains[:2] + 10, first=N_CHAINS, tau=2.5)
    return concatenate([Dataset.of_chains(chains), hot], 17)


def assert_equal(found, expected):
    assert found.evaluations == expected.evaluations
    for name, a, b in zip(Dataset._fields, found, expected, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_rows_of_chains_are_to_learn_from_and_nothing_else_is_known(chains):
    data = Dataset.of_chains(chains, first=5)
    assert data.x.shape == (N_CHAINS * N_FRAMES, DIM)
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.chain, np.repeat([5, 6, 7], N_FRAMES))
    assert set(data.tau) == {1.0}
    assert set(data.role) == {LEARN}
    assert set(data.walker) == {-1}
    assert np.isnan(data.u).all()
    assert data.evaluations == 0


def test_what_is_saved_comes_back(run, data):
    data = data._replace(role=np.where(data.chain == 1, WATCH, data.role), u=np.sum(data.x, 1))
    data.save(run)
    found = load_dataset(run)
    assert_equal(found, data)
    assert isinstance(found.evaluations, int)
    assert {name: getattr(found, name).dtype for name in Dataset._fields[:-1]} == {
        name: getattr(data, name).dtype for name in Dataset._fields[:-1]
    }


def test_parts_keep_their_chains_and_temperatures(data, chains):
    assert (data.n_chains, data.evaluations, len(data.x)) == (5, 17, 20)
    hot = data.at(2.5)
    np.testing.assert_array_equal(hot.x, (chains[:2] + 10).reshape(-1, DIM))
    assert set(hot.chain) == {3, 4}
    assert data.at(1.0).n_chains == N_CHAINS
    assert len(data.at(2.0).x) == 0


def test_rows_are_chosen_in_all_arrays(data):
    rows = np.arange(len(data.x)) % 3 == 0
    found = data.where(rows)
    for name in Dataset._fields[:-1]:
        np.testing.assert_array_equal(getattr(found, name), getattr(data, name)[rows])
    assert found.evaluations == 17


def test_frames_of_a_chain_are_together_and_in_order_of_time(chains):
    """Rows of several chains may be mixed, as rounds of replica exchange mix them."""
    whole = Dataset.of_chains(chains)
    by_time = np.arange(len(whole.x)).reshape(N_CHAINS, N_FRAMES).T.ravel()
    mixed = whole._replace(x=whole.x[by_time], chain=whole.chain[by_time])
    for data in (whole, mixed, mixed._replace(chain=10 * mixed.chain)):
        np.testing.assert_array_equal(data.x[data.by_chain()], chains)


def test_chains_of_different_lengths_are_no_table(data):
    with pytest.raises(ValueError, match="as many frames, got 3 to 4"):
        data.where(np.arange(len(data.x)) > 0).by_chain()


@pytest.mark.parametrize("name", ["role", "u", "evaluations"])
def test_a_file_of_another_schema_is_refused(run, data, name):
    arrays = data._asdict()
    for others in (
        {},
        arrays | {"extra": np.zeros(3)},
        {k: arrays[k] for k in arrays if k != name},
    ):
        run.save_arrays(FRAMES, **others)
        with pytest.raises(ConfigError, match="another version of jbg: choose another --out"):
            load_dataset(run)


def _nan(x):
    return np.where(np.arange(len(x))[:, None] == 2, np.nan, x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: {"chain": data.chain[1:]}, r"damaged \(chain for 20 frames\)"),
        (lambda data: {"u": data.u[:, None], "tau": data.tau[:2]}, r"\(tau, u for 20 frames\)"),
        (lambda data: {"role": np.array(ASIDE)}, r"damaged \(role for 20 frames\)"),
        (lambda data: {"x": _nan(data.x)}, r"damaged \(positions\)"),
        (lambda data: {"x": data.x[:, 0]}, r"damaged \(positions\)"),
        (lambda data: {"x": np.array(3.0)}, r"damaged \(positions\)"),
        (lambda data: data.where(np.zeros(20, bool))._asdict(), r"damaged \(positions\)"),
        (lambda data: {"evaluations": np.arange(2)}, r"damaged \(evaluations\)"),
        (lambda data: {"evaluations": np.array("many")}, r"damaged \(evaluations\)"),
    ],
)
def test_a_damaged_file_is_one_line(run, data, change, message):
    run.save_arrays(FRAMES, **(data._asdict() | change(data)))
    with pytest.raises(ConfigError, match=message) as caught:
        load_dataset(run)
    assert "\n" not in str(caught.value)
    assert "choose another --out and simulate again" in str(caught.value)


def test_a_torn_file_and_an_absent_one_are_one_line(run, data):
    with pytest.raises(ConfigError, match=r"frames\.npz: "):
        load_dataset(run)
    data.save(run)
    path = run.path / FRAMES
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ConfigError, match=r"frames\.npz: "):
        load_dataset(run)
