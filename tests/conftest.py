"""Settings of every test: two fake CPU devices, strict shapes, which tests run and where, fixtures for all."""

import os
from pathlib import Path

from tests import environment

os.environ.update(environment.settings())

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Files that take longest. They start first, so that the workers of ``--dist loadfile`` end together. (loadfile
# builds the fixtures of a file once; the loadgroup of pytest-xdist 3.8 does nothing under pytest 9.2.)
LONGEST = (
    "test_correction",
    "test_snippets",
    "test_protein",
    "test_latent_ladder",
    "test_molecule_study",
    "test_engine",
    "test_interruptions",
    "test_umbrella",
    "test_explored",
    "test_all_bijectors",
    "test_readme",
    "test_mueller_brown",
    "test_molecular",
    "test_spline",
)


def pytest_addoption(parser):
    parser.addoption("--study", action="store_true", help="run the tests marked study too")
    parser.addoption("--slow", action="store_true", help="run all tests, those marked slow too")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    _deselect(config, items)
    order = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def _deselect(config, items):
    """Leave out slow tests and studies. Studies of a file that is named on the command line run."""
    if config.getoption("--slow"):
        return
    named = {Path(argument.split("::")[0]).resolve() for argument in config.args}

    def skipped(item):
        study = not config.getoption("--study") and item.path not in named
        return item.get_closest_marker("slow") or (study and item.get_closest_marker("study"))

    left_out = [item for item in items if skipped(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_configure(config):
    config.option.loadscopereorder = (
        False  # with --dist loadfile, files run in the order of LONGEST
    )


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    """The test runs in float64, as references and Jacobians are compared there."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def alanine_dipeptide():
    from tests.molecules import peptide

    return peptide("ACE-ALA-NME")
