"""The tests' own settings: the folder of compiled programs stays small, the newest programs stay in it."""

import os

from tests.environment import prune


def test_the_files_read_longest_ago_are_deleted_first(tmp_path):
    for age, name in enumerate(("new/a", "new/b", "old/c", "old/d")):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(100))
        os.utime(file, (1e9 - age, 1e9 - age))
    os.utime(tmp_path / "old/d", (1e9 + 1, 1e9 - 99))  # compiled long ago, read just now
    prune(tmp_path, 250)
    assert sorted(f.name for f in tmp_path.rglob("*") if f.is_file()) == ["a", "d"]
    prune(tmp_path, 250)
    assert len(list(tmp_path.rglob("?"))) == 2
