"""A small part of the campaign `fuzz`, and tests of its verdicts."""

import pytest

from tests.campaigns.fuzz import Verdict, judge, main, names, not_right, table
from tests.campaigns.fuzz_cases import Case, draw_cases

CHOSEN = """
train compile=foo
train size=foo
train ckpt_path=5
train ckpt_path=''
train seed=9223372036854775808
train logger=null
train callbacks=null
train optimizer=[5]
train optimizer._target_=[1]
train experiment=foo
train model.widths=[10] model.depth=4
train callbacks.lengths.modules=5
train optimizer=adam optimizer.betas=[0.9]
train optimizer.momentum=0 optimizer.nesterov=true
train +trainer.val_check_interval=0
train +trainer.limit_train_batches=0
train trainer.enable_progress_bar=[foo]
train logger.csv=[[1]]
train datamodule=mnist datamodule.data_dir=5
train hydra.mode=foo
train seed=1,2
train -m initializer=glob(zzz*)
train -m seed=range(0)
train -m hydra/launcher=joblib hydra.launcher.n_jobs=0 seed=1,2
train --nosuch
range_test seed=0 figure.by=nosuch
simulate progress=foo
simulate samples=9223372036854775808
recipe logger=none
phase_diagram activations.more=1
diagnose thresholds={}
diagnose model.widths=[[1]]
draw start nowhere
"""  # the last word of a line is wrong, or the last two together
CASE = Case("train", ("model.depth=0",), ("model.depth=0",))


@pytest.mark.parametrize("line", CHOSEN.strip().splitlines())
def test_a_wrong_setting_is_refused_in_one_line(shell, line):
    script, *words = [word.replace("''", "") for word in line.split()]
    status, output, errors = shell(script, *words)
    assert judge(Case(script, tuple(words), tuple(words[-2:])), status, "", "\n".join(errors)) == "refused"
    assert (status, output) == (1, [])


@pytest.mark.slow
def test_wrong_settings_cause_one_line_of_error(capsys):
    status = main(["--seed", "18", "--count", "150"])
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "output", "errors", "name"),
    [
        (0, "completed", "", "ran"),
        (1, "", "error: model.depth = 0: must be a whole number of at least 1\n", "refused"),
        (3, "", "", "status 3"),
        (-9, "", "", "status -9"),
        (1, "", "", "no one line"),
        (1, "", "error: model.depth = 0: no\nerror: model.depth = 0: no\n", "no one line"),
        (1, "", "a warning\nerror: model.depth = 0: no\n", "more lines"),
        (1, "", "error: out of memory\n", "names nothing"),
        (1, "", "error: model.depth: must be a whole number of at least 1\n", "names nothing"),
        (1, "", "error: model.depth = 0: no\n", "says not what is allowed"),
        (2, "", "error: model.depth = 0: must be above 0\n", "status 2"),
        (0, "", "Traceback (most recent call last):\n", "traceback"),
    ],
)
def test_the_verdict_depends_on_status_output_and_errors(status, output, errors, name):
    assert judge(CASE, status, output, errors) == name
    verdict = Verdict(CASE, name)
    assert verdict.good == (name in ("ran", "refused"))
    assert name in table([verdict])


def test_the_status_3_of_diagnose_is_not_an_error():
    assert judge(Case("diagnose", (), ()), 3, "", "") == "ran"


def test_a_line_mentions_a_setting_and_its_value():
    assert names("model.depth=0", "error: model.depth = 0: must be")
    assert names("model.lr=1e30", "error: model.lr = 1e+30: must be")
    assert names("callbacks@range_tests=null", "error: callbacks@range_tests = null: must be")
    assert names("--x=a=b", "error: --x = a=b: no such column")
    assert not names("model.depth=0", "error: depth = 0: must be")
    assert not names("+nosuch=foo", "error: foo: no such file")
    assert not names("seed=1e30", "error: seeds = 3: too many")


def test_a_run_that_ended_well_has_trained(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "other" / "summary.json").write_text('{"status": "failed", "steps": 0}')
    for status, steps, wrong in (("completed", 3, ""), ("diverged", 1, ""), ("completed", 0, "no steps"),
                                 ("failed", 3, "a run that is failed")):  # fmt: skip
        (tmp_path / "here" / "summary.json").write_text(f'{{"status": "{status}", "steps": {steps}}}')
        assert not_right(CASE, tmp_path) == wrong


def test_cases_are_reproducible_from_a_seed_with_scripts_in_turns():
    cases = draw_cases(["train", "draw"], seed=3, count=6)
    assert cases == draw_cases(["train", "draw"], seed=3, count=6)
    assert cases[:4] == draw_cases(["train", "draw"], seed=3, count=4)
    assert [case.script for case in cases] == ["train", "draw"] * 3
    assert cases != draw_cases(["train", "draw"], seed=4, count=6)
    assert all(set(case.odd) <= set(case.words) for case in cases)
