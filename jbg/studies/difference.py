"""A free-energy difference as it is reported: states, estimator, reference."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jbg.analysis import FreeEnergyDifference, free_energy_difference
from jbg.interfaces import State
from jbg.studies.evidence import Evidence, Weighted
from jbg.studies.study import Reference, Study

SPREAD = (
    "error: the spread of the weights{of}, with an allowance for larger ones that were not drawn"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """F(b) - F(a) in kT at a relative temperature.

    Attributes:
        a: the first state.
        b: the second.
        tau: relative temperature.
        value: in kT; None with a ``reason``.
        stderr: its standard error.
        interval95: (low, high), where there is one.
        reason: why there is no value.
        relation: formula appended to "F(b) - F(a)" in its definition.
        method: how value and error were computed; the end of its definition.
        estimator: name of the estimator; empty for plain reweighting.
        reference: the difference as known from elsewhere.
        notes: additional entries of ``results.json``.
    """

    a: State
    b: State
    tau: float
    value: float | None
    stderr: float | None
    interval95: tuple[float, float] | None
    reason: str
    relation: str = ""
    method: str
    estimator: str = ""
    reference: Reference
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def by(
        self, estimator: str, found: FreeEnergyDifference, method: str, *, relation: str = ""
    ) -> "Difference":
        """The same difference by another estimator.

        Args:
            estimator: name of the estimator.
            found: value in kT with its error, or a reason.
            method: how value and error were computed.
            relation: formula appended to "F(b) - F(a)"; empty for none.
        """
        return dataclasses.replace(
            self,
            value=found.value,
            stderr=found.stderr,
            interval95=found.interval95,
            reason=found.reason or "",
            relation=relation,
            method=method,
            estimator=estimator,
        )

    def refused(self, reason: str) -> "Difference":
        """The same difference without a value."""
        return dataclasses.replace(self, value=None, stderr=None, interval95=None, reason=reason)

    def without(self, note: str) -> "Difference":
        """The same difference without one of its notes."""
        notes = {name: text for name, text in self.notes.items() if name != note}
        return dataclasses.replace(self, notes=notes)

    def noting(self, **notes: Any) -> "Difference":
        return dataclasses.replace(self, notes={**self.notes, **notes})

    @property
    def definition(self) -> str:
        """The dividing surfaces and the method in words."""
        a, b = self.a, self.b
        return (
            f"F({b.name}) - F({a.name}){self.relation}; {a.name}: {a.definition}; "
            f"{b.name}: {b.definition}; {self.method}"
        )

    def as_results(self) -> dict[str, Any]:
        """An entry of ``results.json``."""
        known = self.reference
        entry = {
            "states": [self.a.name, self.b.name],
            "tau": self.tau,
            "value": self.value,
            "stderr": self.stderr,
            "interval95": self.interval95,
            "definition": self.definition,
            "reference": known.value,
            "reference_stderr": known.stderr,
        }
        optional = {
            "reason": self.reason,
            "estimator": self.estimator,
            "reference_reason": known.reason,
        }
        entry |= {name: text for name, text in optional.items() if text}
        if known.ladders:
            entry["reference_ladders"] = known.ladders
        if not known.expected:
            entry["reference_expected"] = False
        return {**entry, **self.notes}


def relation(a: State, b: State) -> str:
    """The formula that reweighting estimates, appended to "F(b) - F(a)"."""
    return f" = -ln(P_{b.name}/P_{a.name})"


def reweighted(study: Study, evidence: Evidence) -> list[Difference]:
    """The differences of all pairs of states in all ensembles by plain reweighting."""
    return [
        _reweighted(study, evidence, weighted, a, b)
        for a, b in evidence.pairs
        for weighted in evidence.weighted.values()
    ]


def _reweighted(
    study: Study, evidence: Evidence, weighted: Weighted, a: State, b: State
) -> Difference:
    tau = weighted.tau
    stream = f"bootstrap {a.name} {b.name}" + ("" if tau == 1.0 else f" tau {tau:g}")
    found = free_energy_difference(
        weighted.log_w, weighted.inside(a), weighted.inside(b), seed=evidence.seed_for(stream)
    )
    return Difference(
        a=a,
        b=b,
        tau=tau,
        value=found.value,
        stderr=found.stderr,
        interval95=found.interval95,
        reason=found.reason or "",
        relation=relation(a, b),
        method=SPREAD.format(of=""),
        reference=study.reference(evidence, a, b, tau),
    )
