"""What the report says of chains: numbers, nulls, cycles and refusals, without a run."""

from jbg.report.correction import correction

STATE = {
    "share": 0.02,
    "stderr": 0.001,
    "effective_samples": 400.0,
    "r_hat": None,
    "reason": "slow",
}
CHAINS = {
    "corrector": "ladder", "reason": "as asked", "chains": 10, "frames": 1000, "arrivals": 12,
    "r_hat_log_w": None, "mean_log_w": -5.0, "mean_log_w_stderr": 0.1, "frames_log_w": None,
    "frames_log_w_stderr": None, "swaps": [0.5, 0.3], "states": {"phi>0": STATE}, "refused": ["few"],
}  # fmt: skip
CYCLE = {"corrector": "moves", "kept": False, "reason": "no gain", "before": 2.0, "after": 3.0}


def test_infinite_numbers_and_refusals_are_told():
    rows = {row.label: row for row in correction({"correction": CHAINS})}
    assert rows["R-hat of ln w"].figure == "infinite"
    assert rows["Least accepted swaps"].note == "of 3 rungs"
    assert rows["Share of phi>0"].definition == "slow"
    assert rows["Left out because"].definition == "few"
    assert rows["Mean ln w"].note == "no frames to compare with"


def test_without_chains_there_are_the_choice_the_cycles_and_why_not():
    found = {"corrector": "none", "relearned": [CYCLE, CYCLE | {"before": None, "kept": True}]}
    rows = correction({"correction": found})
    assert [row.label for row in rows] == [
        "Corrector",
        "Learning again, cycle 1",
        "Learning again, cycle 2",
    ]
    assert rows[1].definition == "not kept: no gain"
    refused = {"corrector": "ladder", "reason": "far", "refused": ["24 rungs"]}
    assert correction({"correction": refused})[1].definition == "24 rungs"
    assert correction({}) == []
