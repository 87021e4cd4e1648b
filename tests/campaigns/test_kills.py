"""A seeded tenth of the campaign `kills`, and a test that it detects lost rows."""

import pytest

from tests.campaigns import kills


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_runs_and_sweeps_give_the_same_result_after_resuming(capsys):
    status = kills.main(["--seed", "1", "--steps", "6", "--sweeps", "1", "--launchers", "process", "replicas"])
    assert status == 0, capsys.readouterr().out


@pytest.mark.slow
def test_the_campaign_detects_a_run_that_loses_rows(monkeypatch, capsys):
    """The file of the first rows is deleted before the command is started again."""
    finish = kills.finish

    def lossy(folder, *overrides, log=None):
        for file in folder.glob("run/lengths/part-000000000000.parquet"):
            file.unlink()
        finish(folder, *overrides, log=log)

    monkeypatch.setattr(kills, "finish", lossy)
    monkeypatch.setattr(
        kills, "places", lambda steps: [kills.Killed(kills.Step("rename run/checkpoints/last.ckpt", 2))]
    )
    assert kills.main(["--sweeps", "0"]) == 1
    assert "WRONG  run" in capsys.readouterr().out
