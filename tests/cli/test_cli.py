"""The command line: routes to the study, and answers bad input with one line and a status."""

import errno
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from jbg import runs, studies
from jbg.cli import interrupt
from jbg.cli import main as cli
from jbg.interfaces import ConfigError, RunError
from jbg.studies import registry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(monkeypatch):
    """A study that only remembers what it was asked."""
    calls = []

    def remember(name):
        def stage(run, **options):
            calls.append((name, run.path.name, options))
            if name in ("run_all", "evaluate"):
                run.write_json("results.json", RESULTS)
            return 1000 if name == "sample" else None

        return stage

    def make_plan(name, *, preset, seed, **options):
        return {"study": name, "preset": preset, "seed": seed, **options}

    fake = types.SimpleNamespace(
        calls=calls,
        make_plan=make_plan,
        open_run=runs.open_run,
        plan_of=lambda run: run.config,
        describe=lambda plan, run=None: (
            [("molecule", "C6H12N2O2, 22 atoms, charge 0")] if plan["study"] == "molecule" else []
        ),
        cost=lambda plan: {"energy_evaluations": 12345, "rough_minutes": 1.23456},
        **{
            n: remember(n)
            for n in ("run_all", "simulate", "train", "sample", "correct", "evaluate")
        },
        after_sampling=lambda run: "correct",
    )
    monkeypatch.setitem(sys.modules, "jbg.studies.engine", fake)
    monkeypatch.setattr(studies, "engine", fake, raising=False)
    return fake


RESULTS = {
    "ess_fraction": 0.91,
    "n_samples": 1000,
    "free_energy_differences": [
        {"states": ["left", "right"], "value": 3.4, "stderr": 0.02, "reference": 3.39},
        {"states": ["left", "top"], "value": None, "stderr": None, "reason": "no weight"},
    ],
}


@pytest.fixture
def jbg_command(monkeypatch, tmp_path, capsys):
    """Runs ``jbg ...`` in an empty folder -> (status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_run_makes_the_folder_and_prints_the_numbers(study, jbg_command, tmp_path):
    status, out, err = jbg_command("run", "double-well", "--seed", 5, "--a1", "-1.5", "--quiet")
    assert (status, err) == (0, "")
    assert study.calls == [("run_all", "double-well", {"quiet": True})]
    config = runs.load_run(tmp_path / "runs" / "double-well").config
    assert config["seed"] == 5
    assert (config["a4"], config["a2"], config["a1"], config["k"]) == (1.0, 6.0, -1.5, 1.0)
    assert "F(right) - F(left) = 3.400 +- 0.020 kT  (reference 3.390)" in out
    assert "F(top) - F(left) = not given: no weight" in out


def test_a_molecule_takes_its_files(study, jbg_command, tmp_path):
    options = ["--pdb", "a.pdb", "--forcefield", "x.xml", "y.xml", "--temperature", "310"]
    status, _, _ = jbg_command("run", "molecule", *options, "--out", "here", "--preset", "full")
    assert status == 0
    config = runs.load_run(tmp_path / "here").config
    assert config["pdb"] == str(tmp_path / "a.pdb")  # it must be found from any folder
    assert config["forcefield"] == ["x.xml", "y.xml"]
    assert (config["temperature"], config["preset"]) == (310.0, "full")


def test_stages_go_on_one_by_one_in_a_folder(study, jbg_command):
    assert jbg_command("simulate", "alanine-dipeptide", "--out", "a")[0] == 0
    assert jbg_command("train", "a")[0] == 0
    status, out, _ = jbg_command("sample", "a", "-n", "1e3")
    assert (status, out) == (0, "1000 samples; next: jbg correct a\n")
    assert jbg_command("sample", "a", "--quiet")[0] == 0
    status, out, _ = jbg_command("correct", "a")
    assert (status, out) == (0, "next: jbg evaluate a\n")
    assert jbg_command("evaluate", "a")[0] == 0
    assert study.calls == [
        ("simulate", "a", {"quiet": False}),
        ("train", "a", {"quiet": False}),
        ("sample", "a", {"n": 1000, "quiet": False}),
        ("sample", "a", {"n": None, "quiet": True}),
        ("correct", "a", {"quiet": False}),
        ("evaluate", "a", {"questions": None, "quiet": False}),
    ]
    status, out, _ = jbg_command("report", "a")
    assert (status, out.strip()) == (0, "a/report.html")


def test_a_dry_run_prints_the_cost_and_leaves_no_folder(study, jbg_command, tmp_path):
    status, out, _ = jbg_command("run", "double-well", "--dry-run")
    assert status == 0
    assert "energy evaluations: 12 345" in out
    assert "rough minutes: 1.23" in out
    assert list(tmp_path.iterdir()) == []
    assert study.calls == []


def test_what_is_simulated_is_said_before_it_is(study, jbg_command):
    said = "molecule: C6H12N2O2, 22 atoms, charge 0\n"
    status, out, err = jbg_command("run", "molecule", "--sequence", "ACE-ALA-NME", "--dry-run")
    assert (status, out.startswith(said), err) == (0, True, "")
    status, out, err = jbg_command("run", "molecule", "--sequence", "ACE-ALA-NME", "--quiet")
    assert (status, said in out, err) == (0, False, said)


def test_systems_are_listed(study, jbg_command):
    status, out, _ = jbg_command("systems")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == registry.names()


BAD = [
    (["rum"], "unknown command 'rum': did you mean run?"),
    (["run", "double-wel"], "unknown system 'double-wel': did you mean double-well?"),
    (
        ["simulate", "xyz"],
        "unknown system 'xyz': known: alanine-dipeptide, double-well, lj-dimer, lj-dimer-explored, molecule,"
        " mueller-brown",
    ),
    (
        ["run", "--seed", "3", "double-well"],
        "the system comes first, then its options: jbg run NAME --seed",
    ),
    (["run", "a b.pdb"], "a molecule of your own: jbg run molecule --pdb 'a b.pdb'"),
    (["run", "double-well", "--sede", "3"], "unknown option '--sede': did you mean --seed?"),
    (["run", "double-well", "--pdb", "a.pdb"], "unknown option '--pdb'"),
    (["run", "double-well", "--preset", "quik"], "unknown preset 'quik': did you mean quick?"),
    (["run", "double-well", "--seed", "abc"], "--seed: invalid literal for int()"),
    (["run", "double-well", "--seed", "-1"], "seed must be an integer in 0 .. 2147483647, got -1"),
    (["run", "double-well", "--seed"], "--seed"),
    (["run", "double-well", "extra"], "extra"),
    (["train"], "DIR"),
    (["train", "nowhere"], "nowhere is not a run folder"),
    (["train", "nowhere", "--seed", "1"], "unknown option '--seed'"),
    (["sample", "nowhere", "-n", "many"], "not a whole number: 'many'"),
    (["sample", "nowhere", "-n", "1.5"], "not a whole number: '1.5'"),
    (["sample", "nowhere", "-n", "-5"], "positive number of samples, got -5"),
    (["report", "photos"], "photos is not a run folder"),
    (["run", "double-well", "--out", "photos"], "photos is not empty and not a run"),
    (["energy", "--pdb", "a.pdb", "--backend", "gromacs"], "invalid choice 'gromacs'"),
    (["energy", "--pdb", "missing.pdb"], "missing.pdb: no such PDB file"),
    (["energy", "--pdb", "photos"], "photos: no such PDB file: a folder or a pipe; save"),
    (["energy", "--pdb", "a\x1b[1m.pdb"], "a\\x1b[1m.pdb: no such PDB file"),
    (["md"], "give one of --pdb, --sequence"),
    (["md", "--pdb", "a.pdb", "--sequence", "AG"], "give one of --pdb, --sequence"),
    (["md", "--pdb", "missing.pdb"], "missing.pdb: no such PDB file"),
    (["md", "--sequence", "ACE-XYZ-NME"], "XYZ"),
    (["md", "--pdb", "a.pdb", "--ns", "-1"], "ns must be a positive number, got -1"),
    (["md", "--pdb", "a.pdb", "--ns", "0.00015"], "ns must be a whole number of times stride-ps"),
    (["md", "--pdb", "a.pdb", "--timestep-fs", "nan"], "timestep-fs must be a positive number"),
    (["md", "--pdb", "a.pdb", "--timestep-fs", "1.5"], "whole number of times timestep-fs"),
    (["md", "--pdb", "a.pdb", "--equilibrate-ps", "-1"], "equilibrate-ps must be a whole number"),
    (["md", "--pdb", "a.pdb", "--chains", "0"], "chains must be at least 1, got 0"),
    (["md", "--pdb", "a.pdb", "--temperature", "0"], "temperature must be a positive number"),
    (["md", "--pdb", "a.pdb", "--temperature", "1e300"], "between 1 and 10000 K, got 1e+300"),
    (["md", "--pdb", "a.pdb", "--seed", "-1"], "seed must be an integer in 0 .. 2147483647"),
    (["md", "--sequence", "A" * 101], "101 residues; at most 100 are built from a sequence"),
    (["md", "--pdb", "a.pdb", "--format", "h5"], "invalid choice 'h5'"),
    (["doctor", "--jason"], "unknown option '--jason': did you mean --json?"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda v: " ".join(v)[:40])
def test_bad_input_gets_one_line_and_status_two(study, jbg_command, tmp_path, arguments, message):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    status, out, err = jbg_command(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("jbg: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]  # no half-written run
    assert study.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["double-well", "--a4", "0"], "a4 must be > 0"),
        (["double-well", "--a1", "nan"], "finite"),
        (["double-well", "--k", "-1"], "k must be > 0"),
        (["double-well", "--w-rc", "-1"], "w_rc: the weight must be 0 or more, got -1.0"),
        (["mueller-brown", "--w-rc", "nan"], "w_rc: the weight must be 0 or more, got nan"),
        (["lj-dimer", "--w-rc", "inf"], "w_rc: the weight must be 0 or more, got inf"),
        (["double-well", "--taus", "2", "3"], "taus: 1, the system's own temperature, must be"),
        (["lj-dimer", "--taus", "0.5", "2"], "taus: 1, the system's own temperature, must be"),
        (["mueller-brown", "--taus", "2", "1"], "taus must be positive and strictly rising"),
        (["double-well", "--taus", "1", "1"], "taus must be positive and strictly rising"),
        (
            ["double-well", "--seed", "-1", "--dry-run"],
            "seed must be an integer in 0 .. 2147483647",
        ),
        (
            ["double-well", "--taus", "1", "2", "2.0000001"],
            "taus must differ in their first six digits",
        ),
        (["lj-dimer", "--taus", "0", "1"], "taus must be positive and strictly rising"),
        (["double-well", "--taus", "nan", "1"], "taus must be positive and strictly rising"),
    ],
)
def test_options_that_make_no_sense_leave_no_folder(jbg_command, tmp_path, arguments, message):
    status, out, err = jbg_command("run", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_another_plan_in_the_folder_is_refused(study, jbg_command):
    assert jbg_command("run", "double-well", "--out", "a")[0] == 0
    status, _, err = jbg_command("run", "double-well", "--out", "a", "--seed", 1)
    assert status == 2
    assert "seed = 0, this command has seed = 1: choose another --out" in err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("a.pdb: no atoms\n here"), 2, "jbg: error: a.pdb: no atoms here\n"),
        (RunError("training diverged at step 3"), 1, "jbg: error: training diverged at step 3\n"),
        (OSError(errno.ENOSPC, "No space"), 1, "jbg: error: disk full: free space and run"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a.pdb"),
            2,
            "jbg: error: a.pdb: Permission denied\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (OSError(errno.EMFILE, "Too many open files"), 2, "jbg: error: Too many open files\n"),
        (
            MemoryError("Unable to allocate 7 GiB"),
            1,
            "jbg: error: out of memory (Unable to allocate 7 GiB)",
        ),
        (
            RuntimeError(
                "XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 4112004704 bytes."
            ),
            1,
            "jbg: error: out of memory (Out of memory allocating 4112004704 bytes): ask for less",
        ),
        (
            RuntimeError(
                "INTERNAL: RuntimeError: ProcessPool: an OpenMM process ended with status -9; its"
            ),
            1,
            "jbg: error: a worker process of OpenMM ended with status -9",
        ),
        (
            ValueError("RESOURCE_EXHAUSTED: No space left on device"),
            1,
            "jbg: error: disk full: free",
        ),
        (
            RuntimeError("Unable to initialize backend 'cuda': no CUDA"),
            2,
            "jbg: error: JAX has no backend 'cuda' here: install jax for it",
        ),
    ],
)
def test_errors_of_a_run_end_in_one_line(study, jbg_command, error, status, message):
    def fail(*_, **__):
        raise error

    study.run_all = fail
    got, _, err = jbg_command("run", "double-well")
    assert got == status
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_ctrl_c_ends_at_once_and_keeps_the_wall_time(tmp_path):
    """Raised inside a callback of JAX, KeyboardInterrupt is lost or crashes: it must not be."""
    code = (
        "import os, signal, sys, time; from jbg import runs; from jbg.cli import interrupt\n"
        "run = runs.open_run(sys.argv[1], {'seed': 0})\n"
        "with interrupt.interruptible(run), run.stage('train'):\n"
        "    time.sleep(0.2); os.kill(os.getpid(), signal.SIGINT); time.sleep(30)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode == 130
    assert done.stderr == f"{interrupt.AT_WORK}\n"
    assert runs.load_run(tmp_path / "a").wall_seconds("train") >= 0.2


def test_ctrl_c_before_a_run_begins_ends_at_once_too():
    code = (
        "import dataclasses, os, signal, sys, time; from jbg.cli import main as cli\n"
        "def handle(options):\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(30)\n"
        "cli.COMMANDS['systems'] = dataclasses.replace(cli.COMMANDS['systems'], handle=handle)\n"
        "sys.exit(cli.main(['systems']))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


ASCII_BOX = """
 Value error
 -------------------------------------------------------------------
  Error parsing --seed: invalid literal for int() with base 10: 'x'
  -------------------------------------------------------------------
  Argument helptext:
      --seed INT
"""


def test_an_error_box_without_letters_for_its_frame_is_cut_out_too():
    """As in the C locale."""
    expected = "Error parsing --seed: invalid literal for int() with base 10: 'x'"
    assert cli._one_line(ASCII_BOX[1:]) == expected
    assert cli._one_line("something else\n") == "something else"


def test_errors_in_the_code_keep_their_traceback(study, jbg_command):
    def fail(*_, **__):
        raise ValueError("a bug")

    study.run_all = fail
    with pytest.raises(ValueError, match="a bug"):
        jbg_command("run", "double-well")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "usage: jbg COMMAND"),
        (["--help"], "usage: jbg COMMAND"),
        (["--version"], "jbg 0."),
        (["run", "--help"], "alanine-dipeptide"),
        (["run", "double-well", "--help"], "--preset"),
        (["energy", "--help"], "--trajectory"),
        (["md", "--help"], "--timestep-fs"),
    ],
)
def test_help_and_version(jbg_command, arguments, text):
    status, out, err = jbg_command(*arguments)
    assert (status, err) == (0, "")
    assert text in out


def in_a_shell(line, tmp_path, **variables):
    command = line.replace("jbg ", f"{sys.executable} -m jbg ")
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.study
def test_a_closed_pipe_is_no_traceback(tmp_path):
    for line in ("jbg systems | true", "jbg --help | true"):
        done = in_a_shell(line, tmp_path)
        assert done.stderr == ""


@pytest.mark.study
@pytest.mark.parametrize(
    ("variables", "status", "said"),
    [
        ({"JAX_PLATFORMS": "cuda"}, 2, "jbg: error: JAX "),
        ({"JAX_ENABLE_X64": "1"}, 0, "jbg: WARNING: JAX_ENABLE_X64=1 is ignored"),
        ({"JAX_DEFAULT_PRNG_IMPL": "rbg"}, 0, "jbg: WARNING: JAX_DEFAULT_PRNG_IMPL=rbg is ignored"),
        ({"MPLBACKEND": "nonsense"}, 0, ""),
        ({"LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 0, ""),
    ],
)
def test_the_environment_changes_no_number_and_gives_no_traceback(
    tmp_path, variables, status, said
):
    code = (
        "import sys; from jbg.cli import main as cli; cli._set_environment()\n"
        "from jbg.studies import engine\n"
        "def run_all(run, quiet):\n"
        "    with run.stage('train'):\n"
        "        import jax; print(jax.random.key_data(run.key('a')), jax.numpy.ones(1).dtype)\n"
        "        import jbg.plotting; print('\\xfc'); sys.exit(0)\n"
        "engine.run_all = run_all; sys.exit(cli.main(['run', 'double-well', '--out', 'a']))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert status or "float32" in done.stdout
    assert status or "[ 208555866 2927674385]" in done.stdout


def test_help_answers_at_once_without_jax_or_openmm():
    code = (
        "import sys; from jbg.cli import main as cli; status = cli.main(['--help']); "
        "heavy = {'jax', 'openmm', 'matplotlib', 'mdtraj'} & set(sys.modules); "
        "print(heavy); sys.exit(status or bool(heavy))"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - start < 3.0  # 0.2 s on a free machine


def test_fake_devices_get_threads_enough(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=64")
    monkeypatch.delenv("NPROC", raising=False)
    cli._set_environment()
    assert int(cli.os.environ["NPROC"]) > 64


@pytest.mark.openmm
def test_energy_prints_json(jbg_command, tmp_path, alanine_dipeptide):
    (tmp_path / "ala.pdb").write_text(alanine_dipeptide.pdb)
    found = {}
    for backend in ("openmm", "callback"):
        status, out, err = jbg_command("energy", "--pdb", "ala.pdb", "--backend", backend)
        assert status == 0
        assert "molecule: C6H12N2O2, 22 atoms, charge 0\n" in err
        found[backend] = json.loads(out)
        assert found[backend]["backend"] == backend
        assert found[backend]["molecule"]["n_l"] == 1
    ((direct,), (called,)) = (found[backend]["frames"] for backend in ("openmm", "callback"))
    assert direct.keys() == {"energy", "force_norm"}
    assert direct == pytest.approx(called, rel=1e-6)


def test_python_minus_m_ends_with_the_status():
    done = subprocess.run(
        [sys.executable, "-m", "jbg", "run", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
