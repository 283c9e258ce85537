"""The run folder: one folder per run, which survives a kill at any moment."""

from jbg.runs.run import Run, load_run, open_run

__all__ = ["Run", "load_run", "open_run"]
