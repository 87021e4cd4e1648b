"""The list of a sweep's jobs."""

from start_training.runs.job import run_title
from start_training.runs.sweep_jobs import add_jobs, read_jobs


def test_the_list_grows_keeps_its_order_and_holds_each_job_once(tmp_path):
    add_jobs(tmp_path / "new", {"b": ("seed=1",), "a": ("seed=0", "depth=3")})
    add_jobs(tmp_path / "new", {"0": (), "a": ("depth=3", "seed=0")})
    jobs = read_jobs(tmp_path / "new")
    assert [*jobs.items()] == [("b", ("seed=1",)), ("a", ("seed=0", "depth=3")), ("0", ())]
    assert read_jobs(tmp_path / "none") == {}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["jobs.json"]
    choices = {"model": "lenet", "initializer": "he_normal", "schedule": None}
    assert (run_title((), choices), run_title(("b=1", "c=2"), choices)) == ("lenet he_normal", "b=1 c=2")
