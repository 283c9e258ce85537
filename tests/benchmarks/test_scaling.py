"""The scaling benchmark: efficiencies of real devices alone, and lines that say what they are of."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench_scaling import compare

ROOT = Path(__file__).parents[2]


def line(devices, value, *, kind="weak", real=True, device="H100"):
    entry = {
        "name": "scaling/train",
        "kind": kind,
        "devices": devices,
        "value": value,
        "real": real,
    }
    return json.dumps(entry | {"device": {"device_kind": device}})


def test_efficiency_is_per_device_and_of_real_devices_alone():
    lines = [
        line(4, 360.0),
        line(1, 100.0),
        line(8, 9999.0, real=False),
        line(2, 150.0, kind="strong"),
        line(4, 240.0, kind="strong"),
        line(4, 7.0, device="A100"),
    ]
    found = {(r["kind"], r["device_kind"], r["devices"]): r["efficiency"] for r in compare(lines)}
    assert found == {
        ("weak", "H100", 1): 1.0,
        ("weak", "H100", 4): 0.9,
        ("strong", "H100", 2): 1.0,
        ("strong", "H100", 4): 0.8,
        ("weak", "A100", 4): 1.0,
    }


@pytest.mark.study
def test_fake_devices_are_marked(tmp_path):
    out = tmp_path / "scaling.jsonl"
    sizes = ["--batch", "16", "--blocks", "1", "--steps", "2"]
    command = [sys.executable, "benchmarks/bench_scaling.py", "--kind", "strong", "--devices", "2"]
    done = subprocess.run(
        [*command, *sizes, "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "these figures mean nothing" in done.stderr
    lines = [json.loads(text) for text in out.read_text().splitlines()]
    assert [(each["devices"], each["batch"], each["real"]) for each in lines] == [
        (2, 16, False)
    ] * 2
    assert {each["name"] for each in lines} == {"scaling/train", "scaling/sample"}
    assert compare(out.read_text().splitlines()) == []
