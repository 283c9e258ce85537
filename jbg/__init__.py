"""jbg: Boltzmann generators in JAX.

The names below are all that a notebook needs; everything else is found by name in the packages. They load on
first use: importing jbg touches neither JAX, OpenMM nor matplotlib. ``__init__.pyi`` lists them for type checkers.
"""

import importlib

__version__ = "0.1.0"

_EXPORTS = {
    "jbg.analysis": ("free_energy_difference", "weighted_mean", "weighted_profile"),
    "jbg.flows": (
        "MLP",
        "PerVariable",
        "SplineFlowConfig",
        "chain",
        "normal",
        "product",
        "realnvp",
        "spline_flow",
        "uniform",
        "von_mises",
    ),
    "jbg.generator": ("Generator", "pull_back"),
    "jbg.interfaces": ("Bijector", "ConfigError", "RunError", "State", "System", "Target"),
    "jbg.losses": (
        "NLL",
        "AlphaDivergence",
        "Jeffreys",
        "LogDispersion",
        "OwnSamples",
        "ReactionCoordinate",
        "ReverseKL",
        "Wasserstein",
    ),
    "jbg.reweighting": (
        "effective_samples",
        "ess_fraction",
        "log_weights",
        "log_z_estimate",
        "resample",
        "weigh",
    ),
    "jbg.runs": ("load_run",),
    "jbg.simulation.metropolis": ("metropolis",),
    "jbg.studies.continued": ("continue_run",),
    "jbg.studies.engine": ("evaluate", "make_plan", "open_run", "run_all"),
    "jbg.studies.loaded": ("load",),
    "jbg.studies.molecule.notebook": ("molecular_problem", "simulate"),
    "jbg.systems": ("double_well", "lj_dimer", "many_well", "mueller_brown"),
    "jbg.systems.energies": ("energies",),
    "jbg.systems.molecule": ("molecule",),
    "jbg.targets": ("make_target", "soften"),
    "jbg.studies.wanted": ("Questions",),
    "jbg.training": ("Stage", "fit", "run_stages", "stage_losses"),
    "jbg.variables": ("state", "variable"),
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}
_OF_MOLECULES = (  # need the extra
    "jbg.studies.molecule.notebook",
    "jbg.systems.energies",
    "jbg.systems.molecule",
)
# type checkers read the names in __init__.pyi
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]  # noqa: PLE0605


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'jbg' has no attribute {name!r}")
    if _HOME[name] in _OF_MOLECULES:
        from jbg.runs.extras import require
        from jbg.studies.registry import MOLECULES

        require(MOLECULES, f"jbg.{name}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return [*globals(), *_HOME]
