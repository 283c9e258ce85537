"""What a manifest says a run was made with."""

from pathlib import Path

import pytest

from jbg.runs import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_the_commit_of_a_checkout_is_known():
    source = environment.commit()
    assert source is not None
    assert len(source["commit"]) == 40
