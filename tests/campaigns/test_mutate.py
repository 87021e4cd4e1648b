"""A tenth of the campaign `mutate`: single faults are detected, and an unchanged copy passes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns.faults import all_faults

ROOT = Path(__file__).parents[2]
FOLDERS = ("theory", "lengths", "initializers")  # folders whose tests take seconds


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tenth_of_the_faults_is_detected(tmp_path):
    folders = [word for folder in FOLDERS for word in ("--folder", folder)]
    words = ["--own", "--each", "5", *folders, "--out", str(tmp_path / "mutate.json")]
    command = [sys.executable, str(ROOT / "scripts" / "verify.py"), "mutate", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=880)
    results = json.loads((tmp_path / "mutate.json").read_text())
    controls = [result["outcome"] for result in results if not result["fault"]]
    outcomes = [result["outcome"] for result in results if result["fault"]]
    assert (done.returncode, controls) == (0, ["survived"] * 3), done.stdout + done.stderr
    assert len(outcomes) == 15
    assert sum(outcome.startswith("killed") for outcome in outcomes) >= 13, done.stdout


def test_every_kind_of_fault_is_put_into_the_source():
    source = "def f(a, b):\n    if not a:\n        return -abs(a - 2.0)\n    return min(a, 3) <= b and a + b > 0\n"
    faults = {(fault.line, fault.old, fault.new): fault.put_into(source) for fault in all_faults("f.py", source)}
    changed = {text for (_, old, new), text in faults.items() if (old, new) in ((">", ">="), ("abs", ""), ("3", "4"))}
    assert changed == {source.replace("> 0", ">= 0"), source.replace("abs", ""), source.replace("3)", "4)")}
    exchanged = {(old, new) for _, old, new in faults}
    assert exchanged >= {
        ("not ", ""),
        ("-", "+"),
        ("-", ""),
        ("2.0", "3.0"),
        ("min", "max"),
        ("<=", "<"),
        ("and", "or"),
    }
    assert all(text != source for text in faults.values()) and len(set(faults.values())) == len(faults)
