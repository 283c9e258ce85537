"""What the report says of chains that corrected the samples (`results.json`, ``correction``)."""

from collections.abc import Mapping
from typing import Any

from jbg.report import numerals
from jbg.report.page import Row

NAMES: dict[str, str] = {
    "none": "none: importance sampling",
    "moves": "chains with flow moves",
    "ladder": "latent ladder",
}
ARRIVALS = "samples of the flow that reached the target; need 200, and 5 for each walker"
R_HAT = "split-R-hat over independent chains; need 1.05 or less"
LOG_W = "over the chains; that of frames which training did not see must agree"


def correction(results: Mapping[str, Any]) -> list[Row]:
    """The numbers of the corrector; empty where the run chose among none."""
    found = results.get("correction")
    if not found:
        return []
    name = NAMES.get(found["corrector"], str(found["corrector"]))
    rows = [Row("Corrector", name, "", found.get("reason", "as asked"))]
    for i, cycle in enumerate(found.get("relearned", []), 1):
        said = f": {cycle['reason']}" if cycle["reason"] else ""
        kept = ("kept" if cycle["kept"] else "not kept") + said
        rows.append(Row(f"Learning again, cycle {i}", str(cycle["corrector"]), _nll(cycle), kept))
    if not found.get("chains"):
        refused = found.get("refused", [])
        return rows + [Row("Not possible", "", "", reason) for reason in refused]
    size = f"{numerals.number(found['frames'])} frames of {found['chains']} chains"
    rows += [
        Row("Fresh samples that arrived", numerals.number(found["arrivals"]), size, ARRIVALS),
        Row("R-hat of ln w", _r_hat(found["r_hat_log_w"]), "", R_HAT),
        Row("Mean ln w", *_log_w(found), LOG_W),
    ]
    if found.get("turned"):
        turned = numerals.percentage(found["turned"])
        rows.append(
            Row("Accepted torsion moves", turned, "", "new values of one to four torsions at once")
        )
    if found["swaps"]:
        least = numerals.percentage(min(found["swaps"]))
        note = f"of {len(found['swaps']) + 1} rungs"
        rows.append(
            Row("Least accepted swaps", least, note, "of two neighbouring rungs; need 20 %")
        )
    rows += [_state(name, state) for name, state in found["states"].items()]
    rows += [Row("Left out because", "", "", reason) for reason in found["refused"]]
    return rows


def _r_hat(value: float | None) -> str:
    """JSON has no infinity."""
    return "infinite" if value is None else f"{value:.3f}"


def _nll(cycle: Mapping[str, Any]) -> str:
    if cycle["before"] is None or cycle["after"] is None:
        return ""
    return f"-ln q of held-out frames {cycle['before']:.2f}, then {cycle['after']:.2f}"


def _log_w(found: Mapping[str, Any]) -> tuple[str, str]:
    own = numerals.number_with_error(found["mean_log_w"], found["mean_log_w_stderr"])
    known, error = found["frames_log_w"], found["frames_log_w_stderr"]
    if known is None:
        return own, "no frames to compare with"
    return own, f"frames {numerals.number_with_error(known, error)}"


def _state(name: str, state: Mapping[str, Any]) -> Row:
    effective = numerals.number(round(state["effective_samples"]))
    note = f"{effective} effective samples, R-hat {_r_hat(state['r_hat'])}"
    share = numerals.number_with_error(state["share"], state["stderr"])
    return Row(f"Share of {name}", share, note, state["reason"])
