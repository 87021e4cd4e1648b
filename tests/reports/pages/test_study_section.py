"""The page of a search shows its words, table, figure and runs; that of a diagnosis its verdict, growth and advice."""

import base64
import json
import re

import numpy as np
import pytest

from start_training.files.damaged_file import DamagedFile
from start_training.reports.pages.report import write_report
from tests.reports.pages.made_runs import PNG, STRANGE, data_of, leave_study


def test_the_page_of_a_search_has_its_results_and_its_runs(tmp_path):
    study = leave_study(tmp_path / "study")
    (study / "secret.csv").symlink_to("/etc/passwd")
    (study / "figures" / "no_image.png").write_text("text")
    page = write_report(study)
    text = page.read_text()
    assert "<li>weight decay 0 is chosen</li>" in text and "<dt>chosen.option</dt><dd>0</dd>" in text
    assert "<td>1e-4</td><td>0.2</td><td>—</td>" in text
    assert re.findall(r'<img src="([^"]*)"', text) == [f"data:image/png;base64,{base64.b64encode(PNG).decode()}"]
    assert "3 jobs: 1 diverged, 1 failed, 1 absent" in text and "root:" not in text
    assert data_of(page)["job-0"]["plots"]["heat"]


def test_a_strangers_study_is_text(tmp_path):
    markup = re.sub(r"<script.*?</script>", "", write_report(leave_study(tmp_path / "study", STRANGE)).read_text())
    assert markup.count("onerror=alert") >= 4 and "<img src=x" not in markup


def test_the_markdown_of_a_recipe_is_shown_as_words_and_tables_and_nothing_else(tmp_path):
    study = leave_study(tmp_path / "study")
    summary = json.loads((study / "summary.json").read_text())
    summary["text"] = f"# The recipe\n\n| rate | loss |\n|---|---:|\n| 0.1 | **{STRANGE}** |\n\n{STRANGE}\n\n"
    summary["text"] += "[a](javascript:alert(2)) ![b](http://x/y.png) <http://x> [c]\n\n[c]: http://x\n"
    summary["results"] = [{"option": "0", "rate": 0.5}, {"option": STRANGE}]
    (study / "summary.json").write_text(json.dumps(summary))
    text = re.sub(r"<script.*?</script>", "", write_report(study).read_text())
    assert "<h4>The recipe</h4>" in text and "<td>0.1</td>" in text and "<td>0.5</td>" in text
    assert "<img src=x" not in text and "alert(2)" in text
    [report] = re.findall(r'<div class="report">(.*?)</div>', text, re.S)
    assert set(re.findall(r"<(\w+)", report)) <= {"h4", "p", "strong", *("table", "thead", "tbody", "tr", "th", "td")}


def test_a_damaged_study_is_named_and_the_rest_is_shown(tmp_path):
    study = leave_study(tmp_path / "study")
    (study / "options.csv").write_bytes(b"\xff\xfe\x00")
    (study / "summary.json").write_text("{")
    text = write_report(study).read_text()
    assert "options.csv" in text and "summary.json" in text and "The runs of this study" in text


def test_the_page_of_a_diagnosis_shows_what_the_command_found(shell, tmp_path):
    assert shell("diagnose", "model.depth=30", "model.width=8", "nets=2", "out=net.json")[0] == 3
    status, output, _ = shell("report", "net.json")
    assert (status, output) == (0, ["page: net.html"])
    found, page = json.loads((tmp_path / "net.json").read_text()), tmp_path / "net.html"
    curves = data_of(page)["study"]["plots"]["growth"]["data"]
    for curve, name in zip(curves, ("forward", "backward"), strict=True):
        assert np.allclose(curve["y"], found[name], rtol=1e-3) and curve["customdata"] == found["layers"][1:]
    text = page.read_text()
    assert "failure modes: FM2" in text and "unhealthy" in text and "advice: " in text
    assert f"<dt>measured.drift</dt><dd>{found['measured']['drift']:.6g}</dd>" in text


@pytest.mark.parametrize("content", ["[]", "{}", "nothing", json.dumps({"layers": 1})])
def test_another_file_is_no_diagnosis(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DamagedFile, match=r"a\.json"):
        write_report(tmp_path / "a.json")


def test_the_page_of_a_diagnosis_has_its_findings_trials_and_signal(shell, tmp_path):
    assert shell("diagnose", "model.depth=20", "initializer=torch_default", "nets=2", "out=net.json")[0] == 3
    assert shell("report", "net.json")[0] == 0
    found, page = json.loads((tmp_path / "net.json").read_text()), tmp_path / "net.html"
    text = page.read_text()
    for finding in found["findings"]:
        assert f"<td>{finding['name']}</td><td>{finding['answer']}</td>" in text
    assert "training starts with SGD: no" in text and "<h3>Short trainings</h3>" in text
    assert text.index("<td>growth with depth") < text.index("<td>infinite or NaN")  # what is bad comes first
    [length, *_] = data_of(page)["study"]["plots"]["signal"]["data"]
    assert np.allclose(length["y"], found["signal"]["length"], rtol=1e-3)
    assert length["customdata"] == found["signal"]["name"]
