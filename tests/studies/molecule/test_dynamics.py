"""`jbg md`: what it writes is one ensemble's, an interruption leaves no trace, time steps have their limits."""

import contextlib
import errno
import functools
import io
import json
import shutil
from types import SimpleNamespace

import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jbg import runs
from jbg.cli import main as cli
from jbg.interfaces import ConfigError
from jbg.studies.molecule import build, dynamics, energies, langevin_blocks, stored
from jbg.systems.openmm_pool import ContextPool
from tests.molecules import peptide

pytestmark = [pytest.mark.openmm, pytest.mark.study]
ARGUMENTS = (
    "md --sequence ACE-ALA-NME --forcefield amber14-all.xml --chains 3 "
    "--stride-ps 0.01 --ns 0.00008 --equilibrate-ps 0.02 --quiet"
)


@pytest.fixture(scope="module")
def md(tmp_path_factory):
    """Runs `jbg md ... --out name` -> (status, standard output, standard error, run folder).

    Blocks are of 3 frames, so that 10 frames take four and the last runs over; each is saved. The molecule is
    built and compiled once: the same potential has the same programs.
    """
    folder = tmp_path_factory.mktemp("md")
    rate = 3 * (3 * 10) / dynamics.BLOCK_SECONDS  # steps of all chains in a second
    built = peptide("ACE-ALA-NME", ("amber14-all.xml",))

    def call(name, *options):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main([*ARGUMENTS.split(), "--out", str(folder / name), *options])
        return status, out.getvalue(), err.getvalue(), folder / name

    with pytest.MonkeyPatch.context() as patch:
        cached = functools.cache(energies.compiled_potential)
        patch.setattr(energies, "compiled_potential", cached)
        patch.setattr(build, "build", lambda options: built)
        patch.setattr(stored, "build", lambda options: built)
        patch.setattr(dynamics, "_steps_per_second", lambda energies, n_atoms: rate)
        patch.setattr(langevin_blocks, "CHECKPOINT_SECONDS", 0.0)
        # that it is in vacuum
        patch.setattr(build.logger, "disabled", True)
        yield call


@pytest.fixture(scope="module")
def whole(md):
    """Of a choice of energies, the unbroken run."""
    return functools.cache(lambda energies: md(f"whole-{energies}", "--energies", energies))


def outputs(folder):
    """Everything but times of the clock."""
    results = json.loads((folder / "results.json").read_text())
    (trajectory,) = folder.glob("trajectory.*")
    loaded = mdtraj.load(str(trajectory), top=str(folder / "data/molecule.pdb"))
    arrays = runs.load_run(folder).load_arrays("energies.npz")
    return {k: v for k, v in results.items() if k != "speed"}, loaded.xyz, arrays


@pytest.mark.parametrize("energies", ["jax", "openmm"])
def test_frames_energies_and_results_are_of_the_same_chains(md, whole, energies):
    status, out, err, folder = whole(energies)
    assert (status, err.splitlines()[0]) == (0, "molecule: C6H12N2O2, 22 atoms, charge 0")
    results, frames, arrays = outputs(folder)
    assert results == {k: v for k, v in json.loads(out).items() if k != "speed"}
    assert frames.shape == (3 * 8, 22, 3)
    np.testing.assert_allclose(arrays["time"], 0.01 * np.arange(1, 9))
    stored = runs.load_run(folder).load_arrays("data/molecule.npz")
    with ContextPool(str(stored["system_xml"])) as pool:
        np.testing.assert_allclose(pool.energies(frames), arrays["energy"].ravel(), atol=0.05)
    assert (np.diff(arrays["energy"].ravel()) != 0).all()  # no frame twice
    energy, kelvin = results["potential_energy"], results["kinetic_temperature"]
    assert energy["mean"] == pytest.approx(arrays["energy"].mean())
    of_chains = arrays["energy"].mean(1)
    assert energy["mean_stderr"] == pytest.approx(of_chains.std(ddof=1) / 3**0.5)
    assert kelvin["mean"] == pytest.approx(arrays["temperature"].mean())
    assert 50 < kelvin["mean"] < 350  # half of it is still going into the potential
    others = 2 * 4 if energies == "jax" else 12
    assert "basins that no chain entered" in results["estimator"]
    assert results["energy_evaluations"] == 3 * (4 * 3 * 10 + others)
    assert not {"frames.npy", "checkpoint.npz"} & {p.name for p in folder.iterdir()}
    assert md(folder.name, "--energies", energies)[1] == out  # done: only printed


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "report"])
def test_there_are_no_stages_to_resume(whole, capsys, command):
    assert cli.main([command, str(whole("openmm")[3])]) == 2
    assert "holds a run of 'md', which has no stages" in capsys.readouterr().err


def test_one_chain_is_told_to_have_no_errors(md):
    status, _, _, folder = md("alone", "--energies", "openmm", "--chains", "1")
    results = outputs(folder)[0]
    assert (status, results["potential_energy"]["mean_stderr"]) == (0, None)
    assert results["warnings"] == [
        "one chain tells no errors, nor whether it drifts: run more (--chains)"
    ]


@pytest.mark.parametrize("what", ["disk", "memory"])
def test_more_than_there_is_is_refused_before_any_is_claimed(md, monkeypatch, what):
    if what == "disk":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    else:
        monkeypatch.setattr(langevin_blocks.storage, "available_memory", lambda: 1000)
    status, _, err, folder = md(f"large-{what}")
    assert (status, err.count("jbg: error: ")) == (2, 1)
    assert "e-06 GB" in err
    assert "choose fewer --chains, a shorter --ns or a longer --stride-ps" in err
    assert not list(folder.glob("*.np*"))


def test_more_than_the_disk_holds(md, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(langevin_blocks.storage, "reserve", full)
    status, _, err, folder = md("big", "--energies", "openmm")
    assert (status, err.count("\njbg: ")) == (1, 1)
    assert "disk full writing" in err
    assert not list(folder.glob("frames*"))


@pytest.mark.parametrize(("energies", "blocks"), [("jax", 0), ("jax", 2), ("openmm", 3)])
def test_an_interruption_leaves_no_trace(md, whole, monkeypatch, energies, blocks):
    write, saved = langevin_blocks.storage.write_arrays, []

    def stop_after(path, arrays, **options):
        if path.name == langevin_blocks.CHECKPOINT:
            if len(saved) == blocks:
                raise KeyboardInterrupt  # frames of this block are written, the checkpoint is not
            saved.append(path)
        write(path, arrays, **options)

    name = f"broken-{energies}-{blocks}"
    monkeypatch.setattr(langevin_blocks.storage, "write_arrays", stop_after)
    assert md(name, "--energies", energies)[0] == 130
    monkeypatch.undo()
    status, _, _, folder = md(name, "--energies", energies)
    assert (status, len(saved)) == (0, blocks)
    broken, unbroken = outputs(folder), outputs(whole(energies)[3])
    assert broken[0] == unbroken[0]
    np.testing.assert_array_equal(broken[1], unbroken[1])
    for name, values in unbroken[2].items():
        np.testing.assert_array_equal(broken[2][name], values)


def test_where_blocks_end_does_not_show(md, monkeypatch):
    springs = lambda x: (
        500 * (jnp.diff(x.reshape(22, 3, -1), axis=0) ** 2).sum((0, 1)).reshape(x.shape[1:])
    )
    monkeypatch.setattr(energies, "compiled_potential", lambda xml: springs)
    in_four = outputs(md("four")[3])
    monkeypatch.setattr(dynamics, "BLOCK_SECONDS", 1e9)
    in_one = outputs(md("one")[3])
    np.testing.assert_allclose(in_one[2]["energy"], in_four[2]["energy"], rtol=1e-4)
    assert in_one[0]["energy_evaluations"] == 3 * (10 * 10 + 2)


@pytest.mark.parametrize("energies", ["jax", "openmm"])
def test_too_large_a_time_step_is_named(md, energies):
    options = ["--timestep-fs", "20", "--stride-ps", "0.2", "--ns", "0.002"]
    options += ["--equilibrate-ps", "0", "--energies", energies]
    status, out, err, folder = md(f"hot-{energies}", *options)
    *said, last = err.splitlines()
    assert (status, out) == (2, "")
    assert said[0] == "molecule: C6H12N2O2, 22 atoms, charge 0"
    assert "a time step of 20 fs is too large: choose a smaller --timestep-fs" in last
    assert not (folder / "results.json").exists()


@pytest.mark.parametrize("energies", ["jax", "openmm"])
def test_heavy_hydrogens_take_steps_that_light_ones_do_not(md, energies):
    options = ["--timestep-fs", "4", "--stride-ps", "0.2", "--ns", "0.002"]
    options += ["--equilibrate-ps", "0", "--energies", energies]
    status, _, err, _ = md(f"light-{energies}", *options)
    assert status == 2
    assert "a time step of 4 fs is too large" in err
    status, _, _, folder = md(f"heavy-{energies}", *options, "--hydrogen-mass", "6")
    assert status == 0
    kelvin = outputs(folder)[0]["kinetic_temperature"]["mean"]
    assert kelvin == pytest.approx(200, abs=120)  # still warming up; masses of 1 would read a sixth


def test_a_dry_run_counts_and_leaves_nothing(md):
    status, out, _, folder = md("dry", "--dry-run")
    assert (status, folder.exists()) == (0, False)
    assert "energy evaluations: 384" in out
    assert "molecule: C" in out
    assert "frames: 24" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timestep_fs": 0.0}, "timestep-fs must be a positive number, got 0.0"),
        ({"friction": float("nan")}, "friction must be a positive number, got nan"),
        ({"hydrogen_mass": 0.5}, "hydrogen-mass must be 1 dalton or more, or 0"),
        ({"chains": 0}, "chains must be at least 1, got 0"),
        ({"stride_ps": 0.0015}, "stride-ps must be a whole number of times timestep-fs"),
        ({"ns": 0.00015}, "ns must be a whole number of times stride-ps, at least 1, got 1.5"),
        ({"equilibrate_ps": 0.05}, "equilibrate-ps must be a whole number of times stride-ps"),
        ({"temperature": -1.0}, "temperature must be a positive number of kelvin"),
        ({"pdb": "a.pdb"}, "give one of --pdb, --sequence"),
    ],
)
def test_options_that_cannot_be_run_are_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        dynamics.make_plan(**({"sequence": "ACE-ALA-NME"} | options))
    assert "\n" not in str(caught.value)


@pytest.fixture
def folded(md, whole):
    """Two frames: the minimised molecule, and one with phi turned; the molecule's topology."""
    folder = whole("openmm")[3]
    frame = mdtraj.load(str(folder / "data/molecule.pdb"))
    turned = frame.xyz[0].copy()
    axis = turned[8] - turned[6]  # about N-CA of the residue between the caps
    beyond = np.arange(len(turned)) >= 9
    spun = Rotation.from_rotvec(2.0 * axis / np.linalg.norm(axis))
    turned[beyond] = spun.apply(turned[beyond] - turned[8]) + turned[8]
    return mdtraj.Trajectory(np.stack([frame.xyz[0], turned]), frame.topology)


def test_chains_start_from_given_frames_in_turn(md, folded, tmp_path):
    file = tmp_path / "starts.pdb"
    folded.save_pdb(str(file))
    options = ("--energies", "openmm", "--starts", str(file))
    status, _, err, folder = md("from-frames", *options)
    assert status == 0, err
    results, xyz, _ = outputs(folder)
    assert "in turn from frames of starts.pdb, minimised" in results["estimator"]
    first = mdtraj.Trajectory(xyz[:: len(xyz) // 3], folded.topology)  # of three chains
    phi = mdtraj.compute_phi(first)[1][:, 0]
    assert abs(np.angle(np.exp(1j * (phi[0] - phi[2])))) < 0.6
    assert abs(np.angle(np.exp(1j * (phi[0] - phi[1])))) > 0.7
    # an edited file is another run
    folded[::-1].save_pdb(str(file))
    status, _, err, _ = md("from-frames", *options)
    assert status == 2
    assert err.count("\n") == 1


def test_starts_of_another_molecule_or_hand_are_refused(md, folded, tmp_path):
    mirrored = mdtraj.Trajectory(folded.xyz * [-1.0, 1.0, 1.0], folded.topology)
    for name, frames, message in (
        ("mirror", mirrored, "residues of other handedness than in"),
        ("other", folded.atom_slice(range(12)), "frames of 12 atoms, but"),
    ):
        file = tmp_path / f"{name}.pdb"
        frames.save_pdb(str(file))
        status, _, err, _ = md(name, "--energies", "openmm", "--starts", str(file))
        assert status == 2
        assert message in err
    status, _, err, _ = md("none", "--starts", str(tmp_path / "none.pdb"))
    assert status == 2
    assert "no such trajectory file" in err


def test_a_plan_comes_back_from_its_folder(whole):
    run = runs.load_run(whole("openmm")[3])
    plan = dynamics.plan_of(run)
    assert (plan.study, plan.options.chains, plan.atoms, plan.sha256) == ("md", 3, 22, None)
    assert (plan.options.stride, plan.options.n_frames, plan.options.n_left_out) == (10, 8, 2)
    assert (plan.block, plan.n_blocks) == (3, 4)
    assert dynamics.open_run(run.path, plan).config == run.config
