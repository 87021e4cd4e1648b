"""The config of a study is checked before anything is trained."""

import pytest

from start_training.config.composed import plain
from start_training.config.top_level import check_unused
from start_training.studies.guideline.guideline import GuidelineSettings
from start_training.studies.trial_checks import check_epochs, check_trials
from tests.composing import composed_of

WRONG = {
    "search logger=none": "logger = none: must contain csv, whose metrics.csv this command reads; type logger=csv",
    "search range_tests.range_test.ramp=5": "range_tests.range_test.ramp = 5: must be text",
    "search schedule.cycle=foo": "schedule.cycle = 'foo': must be a fraction of the run, above 0 and at most 1",
    "recipe trainer.strategy=ddp": "trainer.strategy = 'ddp': must be auto, because this command uses one process",
    "recipe trainer.devices=2": "trainer.devices = 2: must be 1 with strategy auto",
    "weight_decay +trainer.limit_train_batches=0": "trainer.limit_train_batches = 0: must be a whole number of at",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_mistake_is_found_before_anything_is_trained(line):
    script, word = line.split()
    with pytest.raises(ValueError) as raised:
        check_trials(plain(composed_of(script, word)))
    assert str(raised.value).startswith(WRONG[line])


def test_the_epochs_that_a_study_chooses_cannot_be_typed():
    check_epochs({"trainer": {"max_epochs": 30}}, ["seeds=3"])
    with pytest.raises(ValueError, match=r"^trainer.max_epochs = 3: has no effect, .* must be left out$"):
        check_epochs({"trainer": {"max_epochs": 3}}, ["trainer.max_epochs=3"])


def test_settings_of_the_guideline_without_effect_are_refused():
    config = {"window": None, "train": False}
    check_unused(GuidelineSettings, {"window": [1, 4], "train": True}, ["factors=[1]", "window=[1,4]"])
    for word, given in (("factors=[1]", config), ("skip=0.2", {**config, "window": [1, 4]})):
        with pytest.raises(ValueError, match=f"^{word.partition('=')[0]} = .*: has no effect with"):
            check_unused(GuidelineSettings, given, [word])
