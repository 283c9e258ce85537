"""The run folder: one folder per run, which survives a kill at any moment."""

from jbg.runs.opening import adopt, check_seed, load_run, open_run
from jbg.runs.run import Run

__all__ = ["Run", "adopt", "check_seed", "load_run", "open_run"]
