"""Where the training of a run starts: fresh parameters, or those of the run that it continues (`continued`)."""

from typing import Any

from jbg.interfaces import Key, Params
from jbg.runs import Run
from jbg.training import from_named_arrays

START = "stages/start.npz"  # parameters of the run that is continued
CONTINUES = "continues"  # in the manifest: which run, which parameters, what was spent


def continues(run: Run) -> dict[str, Any] | None:
    """What the manifest says of the run that is continued, None for a run of its own."""
    return run.manifest().get(CONTINUES)


def initial_params(run: Run, params: Params) -> Params:
    """``params``, or those in `START` in their structure."""
    if not run.holds(START):
        return params
    return from_named_arrays(params, run.load_arrays(START))


def training_key(run: Run) -> Key:
    """The key of the training, another one for each run that continues one."""
    before = continues(run)
    return run.key("train" if before is None else f"train after {before['steps']}")


def spent_before(run: Run) -> int:
    """Energies that training spent before this run continued it."""
    return (continues(run) or {}).get("energy_evaluations", 0)
