"""Two states of a bridge: the states, the estimates on known weights, and (slow) the whole."""

import importlib
import json

import numpy as np
import pytest

import jbg
from jbg.interfaces import ConfigError
from jbg.runs import storage
from tests.experiments.test_scripts import EXPERIMENTS, load

SCRIPT = "noe2019/fig6f.py"
RING = EXPERIMENTS / "noe2019/structures/cys-ala-ala-cys.pdb"


@pytest.fixture(scope="module")
def script():
    return load(SCRIPT)


@pytest.fixture(scope="module")
def bridge(script):
    del script  # its folder is on the path
    return importlib.import_module("bridge")


@pytest.fixture(scope="module")
def peptide(script):
    return jbg.molecule(pdb=RING)


@pytest.mark.openmm
def test_the_states_divide_space_and_turning_leads_to_the_other(bridge, peptide):
    quad = bridge.bridge_quad(peptide.topology)
    assert [peptide.topology.atom_names[i] for i in quad] == ["CB", "SG", "SG", "CB"]
    assert (quad == bridge.bridge_quad(peptide.topology, (5, 2))).all()
    minus, plus = bridge.bridge_states(quad)
    x = peptide.positions.reshape(-1, 1)
    assert minus.contains(x).all()
    assert not plus.contains(x).any()
    mirrored = (x.reshape(-1, 3) * [1, 1, -1]).reshape(-1, 1)
    assert plus.contains(mirrored).all()
    assert plus.contains(bridge.turned(peptide, quad, plus).reshape(-1, 1)).all()
    with pytest.raises(ConfigError, match="expected one disulfide by 2-4, the molecule has 2-5"):
        bridge.bridge_quad(peptide.topology, (2, 4))


@pytest.mark.openmm
def test_which_bridges_close_a_ring(script, bridge, peptide):
    assert bridge.closes_ring(peptide.topology, bridge.bridge_quad(peptide.topology))
    joined = jbg.molecule(pdb=script.PEPTIDES).topology
    assert joined.n_atoms == 54
    assert not bridge.closes_ring(joined, bridge.bridge_quad(joined))


class Springs:
    """A pool of free particles: a trajectory moves each by its velocity."""

    masses = np.ones(4)

    def energies_and_forces(self, x):
        return np.zeros(len(x)), np.zeros_like(x)

    def leapfrog(self, x, v, f, dt_ps, n_steps):
        return x + n_steps * dt_ps * v, v, np.zeros(len(x)), f


def test_a_confined_pool_has_no_energy_outside_of_its_state(script, bridge):
    """Where a move ends decides, and forces stay those of the molecule."""
    import bridge_exchange

    minus, plus = bridge.bridge_states(np.arange(4))
    flat = np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]])
    x = np.stack([flat, flat * [1, -1, 1]])
    inside = np.asarray(plus.contains(x.reshape(2, -1).T))
    assert inside.sum() == 1
    pool = bridge_exchange.Confined(Springs(), plus)
    energy, force = pool.energies_and_forces(x)
    assert (np.isinf(energy) == ~inside).all()
    assert (force == 0).all()
    # from one state to the other and back
    v = x[::-1] - x
    there = pool.leapfrog(x, v, np.zeros_like(x), 0.5, 2)
    assert (np.isinf(there[2]) == inside).all()
    assert (np.isinf(pool.leapfrog(there[0], -v, there[3], 0.5, 2)[2]) == ~inside).all()
    assert (
        np.isinf(bridge_exchange.Confined(Springs(), minus).energies_and_forces(x)[0]) == inside
    ).all()


@pytest.mark.openmm
def test_what_is_no_pair_of_states_is_one_line(script, tmp_path):
    with pytest.raises(SystemExit, match="fig6f: .*its bridge is in state minus too"):
        script.main(other=RING, out=tmp_path)


def harmonic(rng, n, k, shift):
    """u = shift + k y^2 / 2 of n numbers, drawn from a wider normal distribution, with weights."""
    y = rng.normal(0, 1.3 / np.sqrt(k), size=(n, 3))
    u = shift + 0.5 * k * (y**2).sum(1)
    log_q = -0.5 * ((y * np.sqrt(k) / 1.3) ** 2).sum(1) - 3 * np.log(1.3 * np.sqrt(2 * np.pi / k))
    return {"u": u, "log_w": -u - log_q}


def test_free_energy_energy_and_entropy_of_oscillators(script):
    """F = shift - (3/2) ln(2 pi kT/k), U = shift + 3/2 kT, at temperatures other than that of the particles."""
    rng = np.random.default_rng(0)
    states = [harmonic(rng, 4000, 1.0, -2.0), harmonic(rng, 4000, 4.0, 1.0)]
    for kelvin in (280.0, 300.0, 320.0):
        found = script.differences(states, kelvin, 300.0, seed=1)
        scale = 300.0 / kelvin
        energy, entropy = 3.0 * scale, -1.5 * np.log(4.0)
        assert abs(found["value"] - (energy - entropy)) < 4 * found["stderr"]
        assert abs(found["energy"] - energy) < 4 * found["energy_stderr"]
        assert abs(found["entropy"] - entropy) < 4 * found["entropy_stderr"]
        assert 0 < found["stderr"] < 0.1
        assert 0 < found["energy_stderr"] < 0.1


def test_the_table_has_what_is_known(script):
    row = {"kelvin": 300.0, "value": 1.0, "stderr": 0.1, "energy": 3.0, "energy_stderr": 0.2, "entropy": 2.0,
           "entropy_stderr": 0.2, "reason": None}  # fmt: skip
    unknown = script.refused(row | {"kelvin": 280.0}, "too few")
    bar = {"kelvin": 300.0, "value": 1.1, "stderr": 0.05, "reason": None}
    lines = script.table({"differences": [unknown, row], "bar": bar})
    assert lines[2] == "| 280 |  |  |  |  |  |  |"
    assert lines[3] == "| 300 | 1.00 +- 0.10 | 3.00 +- 0.20 | 2.00 +- 0.20 |  |  |  |"
    assert lines[4:] == ["By both sides at 300 K: 1.10 +- 0.05", "No value: too few"]


def test_clashes_have_no_weight_at_any_temperature(script):
    rng = np.random.default_rng(0)
    states = [harmonic(rng, 4000, 1.0, 0.0), harmonic(rng, 4000, 4.0, 0.0)]
    for found in states:
        found["u"][:3], found["log_w"][:3] = (np.inf, np.nan, np.inf), (-np.inf, -np.inf, 5.0)
    for kelvin in (280.0, 300.0, 320.0):
        found = script.differences(states, kelvin, 300.0, seed=1)
        assert abs(found["value"] - 1.5 * np.log(4.0)) < 0.2
        assert abs(found["energy"]) < 0.5
        assert np.isfinite(found["entropy"])


def test_states_whose_sides_differ_give_no_difference(script):
    bar = {"value": -10.0, "stderr": 0.1, "reason": None}
    sides = {"gap": 0.1, "gap_stderr": 0.2, "n_chains": 8, "bar": bar}
    rows = {name: {"ln_z": dict(sides)} for name in ("minus", "plus")}
    assert script.doubts(rows) is None
    found = script.by_both_sides(rows, 300.0)
    assert script.refused(found, None) == found
    assert found["value"] == 0
    for gap, shown in ((-8.28, "8.28 +- 0.20"), (np.inf, "-inf")):
        rows["plus"]["ln_z"]["gap"] = gap
        reason = script.doubts(rows)
        assert f"plus: ln Z from the flow less that back from frames is {shown}" in reason
        hidden = script.refused(found, reason)
        assert hidden == {"kelvin": 300.0, "value": None, "stderr": None, "reason": reason}


def test_populations_of_ladders_of_which_one_crosses_are_refused(script, bridge, tmp_path):
    """The jackknife leaves that one out, and the others know one state."""
    import bridge_exchange

    plus = np.zeros((8, 50), bool)
    plus[3, 20:] = True
    storage.write_arrays(
        tmp_path / "reference.npz",
        {"plus": plus, "energy": np.zeros((8, 50)), "trips": np.zeros(8)},
    )
    peptide = jbg.molecule(pdb=RING)
    quad = bridge.bridge_quad(peptide.topology)
    asked = {
        "lowest": 300.0,
        "highest": 600.0,
        "rounds": 50,
        "seed": 0,
        "kelvins": (300.0,),
        "out": tmp_path,
    }
    found = bridge_exchange.populations([peptide] * 2, bridge.bridge_states(quad), **asked)
    assert found["rows"] == []
    plus[4, 30:] = True
    (tmp_path / "reference.npz").unlink()
    storage.write_arrays(
        tmp_path / "reference.npz",
        {"plus": plus, "energy": np.zeros((8, 50)), "trips": np.zeros(8)},
    )
    found = bridge_exchange.populations([peptide] * 2, bridge.bridge_states(quad), **asked)
    assert found["rows"][0]["value"] == pytest.approx(np.log(350 / 50))
    assert found["rows"][0]["energy"] == 0
    assert found["rows"][0]["value_stderr"] > 0.3


@pytest.mark.study
@pytest.mark.slow
@pytest.mark.openmm
@pytest.mark.parametrize("kind", ["open", "ring"])
def test_the_whole_and_read_back(script, tmp_path, capsys, kind):
    pdb = script.PEPTIDES if kind == "open" else RING
    script.main(pdb=pdb, scale="tiny", out=tmp_path)
    first = json.loads((tmp_path / "fig6f.json").read_text())
    assert [row["kelvin"] for row in first["differences"]] == [280, 300, 320]
    assert set(first["states"]) == {"minus", "plus"}
    assert len(first["reference"]["share_of_plus"]) == 8
    with pytest.raises(SystemExit, match=r"fig6f: .* holds .*choose another --out"):
        script.main(pdb=pdb, scale="tiny", seed=1, out=tmp_path)
    capsys.readouterr()
    script.main(pdb=pdb, scale="tiny", out=tmp_path)
    assert "train" not in capsys.readouterr().err
    assert json.loads((tmp_path / "fig6f.json").read_text())["differences"] == first["differences"]
