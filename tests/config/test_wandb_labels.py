"""Names, groups, job types, tags and facts of W&B runs."""

from pathlib import Path

from start_training.config.wandb_labels import distinct_name, wandb_labels
from start_training.runs.job import Job
from start_training.runs.sweep_jobs import add_jobs

COMMON = ("experiment=hanin_rolnick/figure_1b", "size=small", "trainer.max_epochs=5", "logger.wandb.mode=online")


def test_a_job_of_a_sweep_is_named_by_what_varies(tmp_path):
    jobs = {f"job{seed}": (*COMMON, f"seed={seed}") for seed in range(3)}
    job = Job({}, tmp_path / "job1", jobs["job1"], sweep="a/sweep")
    add_jobs(tmp_path, {"job1": jobs["job1"]})
    assert distinct_name(job) == "experiment=hanin_rolnick/figure_1b trainer.max_epochs=5 seed=1"
    add_jobs(tmp_path, jobs)
    assert distinct_name(job) == "seed=1"
    assert wandb_labels(job, {})["group"].startswith("a-sweep-")
    (tmp_path / "jobs.json").write_text("{")
    assert distinct_name(job).endswith("seed=1")


def test_the_command_is_the_job_type_and_a_range_test_one_of_its_own():
    assert wandb_labels(Job({}, Path(), command="recipe"), {})["job_type"] == "recipe"
    callbacks = {"range_test": {"stop": True}}
    assert wandb_labels(Job({"callbacks": callbacks}, Path()), {})["job_type"] == "range_test"
    assert wandb_labels(Job({"callbacks": {"range_test": {"stop": False}}}, Path()), {})["job_type"] == "train"
    assert wandb_labels(Job({}, Path()), {"job_type": "mine" * 30})["job_type"].startswith("minemine")


def test_settings_of_the_logger_precede():
    given = {"name": "a", "group": "b", "tags": "digits"}
    labels = wandb_labels(Job({"datamodule": {"_target_": "start_training.datamodules.digits.Digits"}}, Path()), given)
    assert (labels["name"], labels["group"], labels["tags"]) == ("a", "b", ["digits"])
    assert labels["config"] == {"data": "digits"}
