"""The accelerator benchmark: what its file holds, what it counts, and that it needs no OpenMM."""

import importlib
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.molecules import peptide

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ALONE = """
import sys
sys.modules["openmm"] = None  # as if it were not installed
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import accelerator_file as file
assert not file.HAS_OPENMM
molecule = file.load_all(Path(sys.argv[2]))["small"]
print(float(file.target_of(molecule).reduced_energy(file.near(molecule, 2))[0]))
"""


@pytest.fixture
def script(monkeypatch):
    """A script of the benchmarks as a module; they are no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def prepared(script, tmp_path):
    molecule = script("accelerator_prepare").of_molecule("small", peptide("ACE-ALA-NME"))
    script("accelerator_file").save_all(tmp_path / "file.npz", [molecule])
    return tmp_path / "file.npz"


@pytest.mark.openmm
def test_prepared_molecule_has_the_energies_and_forces_of_openmm(script, prepared):
    file = script("accelerator_file")
    molecule = file.load_all(prepared)["small"]
    assert molecule.topology.atom_names == peptide("ACE-ALA-NME").topology.atom_names
    frames, known_u, known_f = molecule.checks
    x = jnp.asarray(frames.reshape(len(frames), -1).T, jnp.float32)
    both = script("accelerator_molecules").energy_and_gradient(file.potential_of(molecule))
    u, gradient = jax.jit(both)(x)
    np.testing.assert_allclose(u, known_u, atol=0.01)
    np.testing.assert_allclose(-gradient.T.reshape(known_f.shape), known_f, atol=1.0)


@pytest.mark.openmm
def test_missing_file_says_how_to_write_it(script, tmp_path):
    with pytest.raises(ValueError, match="does not exist: write it with --prepare"):
        script("accelerator_file").load_all(tmp_path / "none.npz")


@pytest.mark.openmm
@pytest.mark.study
def test_file_is_used_without_openmm(script, prepared):
    command = [sys.executable, "-c", ALONE, str(BENCHMARKS), str(prepared)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    file = script("accelerator_file")
    molecule = file.load_all(prepared)["small"]
    here = file.target_of(molecule).reduced_energy(file.near(molecule, 2))[0]
    np.testing.assert_allclose(float(done.stdout), here, rtol=1e-4)


def test_products_are_counted_in_loops_branches_and_gradients(script):
    count = script("accelerator_training").product_operations
    a, b = jnp.ones((3, 5)), jnp.ones((5, 7))

    def looped(a, b):
        def body(total, _):
            return total + jax.lax.cond(total < 0, lambda: a @ b, lambda: 2 * (a @ b)).sum(), None

        return jax.lax.scan(body, 0.0, None, length=4)[0]

    once = 2 * 3 * 5 * 7
    assert count(jax.make_jaxpr(lambda a, b: a @ b)(a, b)) == once
    assert count(jax.make_jaxpr(jax.jit(looped))(a, b)) == 4 * once
    gradients = jax.grad(lambda a, b: (a @ b).sum(), argnums=(0, 1))
    assert count(jax.make_jaxpr(gradients)(a, b)) in (2 * once, 3 * once)
    again = jax.grad(lambda a, b: jax.checkpoint(lambda a: jnp.sin(a @ b))(a).sum())
    assert count(jax.make_jaxpr(again)(a, b)) == 3 * once
