"""``jbg doctor``: checks that this installation computes correctly, and how fast."""

import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from jbg.interfaces import ConfigError
from jbg.runs import environment, extras
from jbg.studies.registry import MOLECULES

MIN_FREE_GIB = 1.0
ROWS = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One finding. ``advice`` is shown where a ``needed`` check did not pass, which fails the doctor."""

    name: str
    passed: bool
    found: str
    advice: str = ""
    needed: bool = True


def main(*, as_json: bool = False) -> int:
    """Run every check and print the findings; returns 0, or 1 if a needed check failed."""
    checks = examine()
    broken = [check for check in checks if check.needed and not check.passed]
    if as_json:
        findings = [dataclasses.asdict(check) for check in checks]
        sys.stdout.write(json.dumps({"ok": not broken, "checks": findings}, indent=2) + "\n")
    else:
        _print_table(checks, broken)
    return 1 if broken else 0


def examine() -> list[Check]:
    """All findings in the order in which they are printed."""
    checks = [*check_versions(), check_devices()]
    if checks[-1].passed:
        checks += [check_reductions(), check_gradient()]
    return [
        *checks,
        *check_platforms(),
        check_temporary_folder(Path(tempfile.gettempdir())),
        check_free_disk(Path.cwd()),
    ]


def check_versions() -> list[Check]:
    """Check that everything jbg needs is installed, and that no version is known to be broken."""
    found = environment.versions()
    optional = {name for names in extras.EXTRAS.values() for name in names}
    missing = [name for name, version in found.items() if version is None and name not in optional]
    checks = [
        Check(
            name="versions",
            passed=not missing,
            found=", ".join(f"{name} {version}" for name, version in found.items()),
            advice=f"not installed: {', '.join(missing)}: pip install {' '.join(missing)}",
        )
    ]
    if found["jax"] in ("0.10.2", "0.11.1") or found["jaxlib"] == "0.10.2":
        advice = 'pip install "jax!=0.10.2,!=0.11.1"'
        bad = f"jax {found['jax']}, jaxlib {found['jaxlib']}: known to be broken"
        checks.append(Check(name="jax version", passed=False, found=bad, advice=advice))
    return checks


def check_devices() -> Check:
    """Check that JAX starts a backend."""
    advice = "reinstall jax for this machine, or set JAX_PLATFORMS=cpu"
    try:
        d = environment.devices()
    except ConfigError as error:
        return Check(name="devices", passed=False, found=_first_line(error), advice=advice)
    found = f"{d['device_count']} x {d['device_kind']} ({d['platform']}), {d['cpu_count']} CPUs"
    return Check(name="devices", passed=True, found=found)


def check_reductions(row_norms: Callable[[np.ndarray, np.ndarray], Any] | None = None) -> Check:
    """Compare |M row|^2 of 20 000 rows with numpy: jaxlib 0.10.2 gets thousands of them wrong on CPU.

    Args:
        row_norms: (M ``(3, 3)``, rows ``(n, 3)``) -> ``(n,)``; jit(vmap(...)) of JAX by default.
    """
    rng = np.random.default_rng(0)
    matrix, rows = rng.normal(size=(3, 3)), rng.normal(size=(ROWS, 3))
    expected = np.sum((rows @ matrix.T) ** 2, axis=1)
    got = np.asarray((row_norms or _jax_row_norms)(matrix, rows))
    n_wrong = int(np.sum(~(np.abs(got - expected) <= 1e-9 * np.abs(expected).max())))
    return Check(
        name="numerical self-test",
        passed=n_wrong == 0,
        found=f"{n_wrong} of {ROWS} rows differ from numpy",
        advice=(
            'this JAX computes wrong numbers: pip install "jax!=0.10.2", or set '
            "XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= (empty) before starting"
        ),
    )


def _jax_row_norms(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):  # noqa: FBT003
        m = jnp.asarray(matrix)
        row_norms = jax.jit(jax.vmap(lambda row: jnp.sum((m @ row) ** 2)))
        return np.asarray(row_norms(jnp.asarray(rows)))


def check_gradient() -> Check:
    """Compare a gradient through a spline's ingredients (softmax, cumulative sum) with finite differences."""

    def f(x):
        return jnp.sum(jnp.cumsum(jax.nn.softmax(x)) ** 2) + jnp.logaddexp(x[0], x[1])

    with jax.enable_x64(True):  # noqa: FBT003
        x, h = jnp.linspace(-1.0, 2.0, 9), 1e-5
        gradient = jax.jit(jax.grad(f))(x)
        steps = h * jnp.eye(9)
        differences = jax.vmap(lambda s: (f(x + s) - f(x - s)) / (2 * h))(steps)
        error = float(jnp.abs(gradient - differences).max())
    found = f"largest error {error:.1e}"
    advice = "this JAX computes wrong gradients: install another version"
    return Check(name="gradients", passed=error < 1e-8, found=found, advice=advice)


def check_platforms() -> list[Check]:
    """One second of energies and forces on each OpenMM platform; Reference and CPU must work.

    Where the packages that molecules need are not installed, that is said, and fails nothing.
    """
    try:
        extras.require(MOLECULES, "a molecule")
        from jbg.systems.openmm_platforms import time_platforms
    except (ImportError, ConfigError) as error:
        return [Check(name="OpenMM", passed=False, found=_first_line(error), needed=False)]
    checks = []
    for timing in time_platforms():
        checks.append(
            Check(
                name=f"OpenMM {timing.name}",
                passed=timing.problem is None,
                found=f"{timing.evaluations_per_second:,.0f} evaluations/s, 22 atoms"
                if timing.problem is None
                else timing.problem,
                advice="reinstall openmm" if timing.name in ("Reference", "CPU") else "not used",
                needed=timing.name in ("Reference", "CPU"),
            )
        )
    return checks


def check_temporary_folder(folder: Path) -> Check:
    """Check that the temporary folder is writable."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"jbg")
    except OSError as error:
        advice = "set TMPDIR to a folder you can write to"
        found = f"{folder}: {error.strerror or error}"
        return Check(name="temporary folder", passed=False, found=found, advice=advice)
    return Check(name="temporary folder", passed=True, found=f"{folder} can be written")


def check_free_disk(folder: Path) -> Check:
    """Check that the current folder has disk space for a run."""
    free = shutil.disk_usage(folder).free / 2**30
    return Check(
        name="free disk",
        passed=free >= MIN_FREE_GIB,
        found=f"{free:.1f} GiB at {folder}",
        advice=f"a run may need {MIN_FREE_GIB:g} GiB: free space, or choose --out on another disk",
    )


def _print_table(checks: list[Check], broken: list[Check]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        mark = (
            "[green]ok[/]" if check.passed else "[red]FAILED[/]" if check.needed else "[yellow]-[/]"
        )
        table.add_row(mark, check.name, check.found)
    console.print(table)
    for check in broken:
        console.print(f"[red]{check.name}:[/] {check.advice}", soft_wrap=True)
    if not broken:
        console.print("jbg is ready")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
