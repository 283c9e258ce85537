"""The page of a run: ``report.html`` and its figures, drawn from files; nothing is computed here."""

from jbg.report.report import write_report

__all__ = ["write_report"]
