"""The doctor: finds this installation well, and says what to do when something is broken."""

import json

import numpy as np
import pytest

from jbg.cli import doctor
from jbg.cli.doctor import Check
from jbg.interfaces import ConfigError


def test_wrong_rows_are_caught():
    """jaxlib 0.10.2 returned wrong values for some rows only; so does this stand-in."""

    def broken(matrix, rows):
        norms = np.sum((rows @ matrix.T) ** 2, axis=1)
        norms[::7] *= 1.01
        norms[3] = np.nan
        return norms

    check = doctor.check_reductions(broken)
    assert not check.passed
    assert check.found.startswith("2859 of 20000")  # 2858 in 0::7, and row 3
    assert "0.10.2" in check.advice
    assert not doctor.check_reductions(lambda m, rows: np.sum((rows @ m) ** 2, axis=1)).passed


def test_this_jax_computes_rightly():
    assert doctor.check_reductions().passed
    assert doctor.check_gradient().passed
    assert doctor.check_devices().passed


def test_bad_versions_are_named(monkeypatch):
    found = {"python": "3.11", "jax": "0.10.2", "jaxlib": "0.10.2", "flax": None, "openmm": None}
    monkeypatch.setattr(doctor.environment, "versions", lambda: found)
    missing, bad = doctor.check_versions()
    assert not missing.passed
    assert "pip install flax" in missing.advice
    assert "openmm" not in missing.advice  # optional
    assert not bad.passed
    assert "known to be broken" in bad.found


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    assert doctor.check_temporary_folder(tmp_path).passed
    check = doctor.check_temporary_folder(tmp_path / "missing")
    assert not check.passed
    assert "TMPDIR" in check.advice


def test_a_full_disk_is_named(monkeypatch, tmp_path):
    assert doctor.check_free_disk(tmp_path).passed
    monkeypatch.setattr(doctor, "MIN_FREE_GIB", 1e9)
    assert not doctor.check_free_disk(tmp_path).passed


@pytest.mark.parametrize(("needed", "status"), [(True, 1), (False, 0)])
def test_only_needed_failures_fail_the_doctor(monkeypatch, capsys, needed, status):
    checks = [
        Check(name="devices", passed=True, found="1 x cpu"),
        Check(name="OpenMM X", passed=False, found="no driver", advice="do this", needed=needed),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    assert doctor.main() == status
    text = capsys.readouterr().out
    assert ("do this" in text) == needed
    assert ("jbg is ready" in text) != needed
    assert doctor.main(as_json=True) == status
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] != needed
    assert report["checks"][1]["found"] == "no driver"


def test_a_backend_that_does_not_start_ends_the_numerical_tests(monkeypatch):
    def no_backend():
        raise ConfigError("Unable to initialize backend 'cuda'\nmore")

    monkeypatch.setattr(doctor.environment, "devices", no_backend)
    monkeypatch.setattr(doctor, "check_platforms", list)
    checks = {check.name: check for check in doctor.examine()}
    assert not checks["devices"].passed
    assert checks["devices"].found == "Unable to initialize backend 'cuda'"
    assert "numerical self-test" not in checks


@pytest.mark.openmm
def test_platforms_are_timed_and_compared(monkeypatch):
    from jbg.systems import openmm_platforms

    timings = {t.name: t for t in openmm_platforms.time_platforms(seconds=0.05)}
    assert timings["Reference"].evaluations_per_second > 100
    assert timings["CPU"].problem is None
    monkeypatch.setattr(openmm_platforms, "TOLERANCE", -1.0)
    (wrong, *_) = openmm_platforms.time_platforms(seconds=0.05)
    assert "kJ/mol" in wrong.problem
    monkeypatch.setattr(openmm_platforms, "available_platforms", lambda: ["CPU", "Abacus"])
    monkeypatch.setattr(openmm_platforms, "time_platforms", lambda: [wrong._replace(name="CPU")])
    (check,) = doctor.check_platforms()
    assert (check.passed, check.needed) == (False, True)
