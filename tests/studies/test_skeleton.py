"""A new study is one module with a ``STUDY`` and one line in the registry."""

import json
import sys

import pytest

from jbg.cli import main as cli
from jbg.studies import engine, registry
from jbg.studies.registry import Entry

NAME = "two-bumps"
MODULE = '''
"""The study of a ring of two bumps: u(x, y) = (r^2 - 1)^2 / w - b x^2."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jbg.flows import MLP, SplineFlowConfig
from jbg.interfaces import ConfigError, State, System
from jbg.losses import NLL
from jbg.studies.plane.problem import plane_problem, quadrature
from jbg.studies.plane.source import MetropolisPlan, MetropolisSource
from jbg.studies.study import Finding, Plan, SamplingPlan, Study
from jbg.training import Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class BumpsOptions:
    """Two bumps on a ring, in kT."""

    bump: float = 2.0
    """Depth of the bumps."""

    def __post_init__(self):
        if not self.bump > 0:
            raise ConfigError(f"two-bumps: bump must be > 0, got {self.bump}")

    def system(self) -> System:
        def potential(x):
            return 5 * ((x**2).sum(0) - 1) ** 2 - self.bump * x[0] ** 2

        return System(
            name="two-bumps",
            dim=2,
            potential=potential,
            energy_unit="kT",
            start=np.array([[-1.0, 0.0], [1.0, 0.0]]),
            states=(
                State(name="west", contains=lambda x: x[0] < 0, definition="x < 0"),
                State(name="east", contains=lambda x: x[0] >= 0, definition="x >= 0"),
            ),
        )


def make_plan(options, preset, seed):
    stage = Stage(name="by-example", steps=20, batch_size=32, losses=(NLL(),), log_every=10)
    return Plan(
        study="two-bumps",
        preset=preset,
        seed=seed,
        options=options,
        data=MetropolisPlan(n_steps=400, stride=2),
        flow=SplineFlowConfig(n_blocks=1, conditioner=MLP(hidden=(8,)), n_bins=4),
        stages=(stage,),
        sampling=SamplingPlan(n=1000, batch=500),
    )


def source(plan):
    system = plan.options.system()
    regions = tuple(state.contains for state in system.states)
    return MetropolisSource(system=system, regions=regions, plan=plan.data)


def mean_radius(evidence):
    x = np.asarray(evidence.own.samples.positions)
    return Finding({"mean_radius": float(jnp.linalg.norm(x, axis=1).mean())}, {})


STUDY = Study(
    name="two-bumps",
    options=BumpsOptions,
    data=MetropolisPlan,
    plan=make_plan,
    source=source,
    problem=lambda plan, run: plane_problem(plan, run, plan.options.system()),
    reference=quadrature,
    dim=lambda plan: plan.options.system().dim,
    minutes=lambda plan: 0.1,
    observables=(mean_radius,),
)
'''


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """The module beside those of the package, and its line in the registry."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "two_bumps.py").write_text(MODULE)
    monkeypatch.setattr(
        "jbg.studies.__path__", [*sys.modules["jbg.studies"].__path__, str(package)]
    )
    monkeypatch.setitem(registry.STUDIES, NAME, Entry("a ring of two bumps", "two_bumps"))
    yield
    sys.modules.pop("jbg.studies.two_bumps", None)


def test_the_command_finds_it_and_its_options(registered, capsys):
    assert cli.main(["systems"]) == 0
    assert "two-bumps           a ring of two bumps" in capsys.readouterr().out
    assert cli.main(["run", NAME, "--help"]) == 0
    assert "Depth of the bumps. (default: 2.0)" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["run", NAME, "--bump", "-1"]) == 2
    assert "two-bumps: bump must be > 0, got -1.0" in capsys.readouterr().err
    assert cli.main(["run", NAME, "--dry-run"]) == 0
    assert "energy evaluations simulate: 802\n" in capsys.readouterr().out


@pytest.mark.slow  # the study of CONTRIBUTING does the same in every run of the tests
def test_it_runs_from_flags_to_report(registered, tmp_path, capsys):
    out = tmp_path / "a"
    arguments = ["run", NAME, "--bump", "1.5", "--seed", "3", "--quiet", "--out", str(out)]
    assert cli.main(arguments) == 0
    assert "F(east) - F(west) = " in capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert (results["system"], results["seed"], results["n_samples"]) == (NAME, 3, 1000)
    assert 0.5 < results["mean_radius"] < 2
    (entry,) = results["free_energy_differences"]
    assert entry["states"] == ["west", "east"]
    assert abs(entry["reference"]) < 1e-3  # by symmetry
    assert (out / "report.html").stat().st_size > 10_000
    plan = engine.plan_of(engine.open_run(out, engine.make_plan(NAME, seed=3, bump=1.5)))
    assert plan.options.bump == 1.5
    assert cli.main(["run", NAME, "--bump", "1.5", "--out", str(out)]) == 2  # of another seed
