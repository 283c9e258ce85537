"""The figure of training: names of stages stay readable."""

import itertools

import pytest

from jbg import plotting
from jbg.plotting import style


@pytest.mark.parametrize(
    "lengths", [(300, 3400), (10, 10, 10), (3000, 10, 10, 10), (20, 1000, 20, 1000)]
)
def test_names_of_stages_do_not_run_into_each_other(lengths, tmp_path, monkeypatch):
    grids, original = [], style.Figure.subplots

    def subplots(self, *args, **kwargs):
        grids.append(original(self, *args, **kwargs))
        return grids[-1]

    monkeypatch.setattr(style.Figure, "subplots", subplots)
    records = [
        {"stage": f"by-example-and-energy-{i}", "step": step, "nll": 1.0 + step}
        for i, length in enumerate(lengths)
        for step in (0, length)
    ]
    assert plotting.training_curves(records, tmp_path / "t.png")
    (grid,) = grids
    boxes = [text.get_window_extent() for text in grid[0, 0].texts]
    assert len(boxes) == len(lengths)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
