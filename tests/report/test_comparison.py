"""Tables of published, exact and own numbers."""

import json

from jbg.report import comparison
from jbg.report.comparison import Row

LONG = "lost " * 40
ROWS = [
    Row("double-well", "ML+KL", "F(right) - F(left)", "kT", None, 3.38, 3.3812, 0.0041, 0),
    Row("double-well", "KL", "ESS fraction", "", 0.5, 1.0, float("nan"), 0.1, None, LONG),
]


def test_the_text_has_every_column_and_no_number_that_is_none():
    header, rule, first, second = comparison.text(ROWS).splitlines()
    assert [c.strip() for c in header.split("|")] == list(comparison.COLUMNS)
    assert set(rule) == {"-", "+"}
    cells = [c.strip() for c in first.split("|")]
    assert cells[:4] == ["double-well", "ML+KL", "0", "F(right) - F(left) / kT"]
    assert cells[4:7] == ["-", "3.38", "3.381 +- 0.0041"]
    cells = [c.strip() for c in second.split("|")]
    assert cells[:7] == ["double-well", "KL", "", "ESS fraction", "0.5", "1", "-"]
    assert cells[7].startswith("lost")
    assert len(cells[7]) <= comparison.NOTE


def test_the_file_has_the_fields_and_null_for_what_is_not_finite(tmp_path):
    comparison.write(ROWS, tmp_path / "table.json")
    first, second = json.loads((tmp_path / "table.json").read_text())
    assert tuple(first) == Row._fields
    assert first["value"] == 3.3812
    assert second["value"] is None
    assert second["seed"] is None
    assert second["note"] == LONG
