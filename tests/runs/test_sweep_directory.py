"""The list of a sweep's jobs."""

from start_training.runs.sweep_jobs import SweepJob, add_jobs, read_jobs


def test_the_list_grows_keeps_its_order_and_holds_each_job_once(tmp_path):
    first, second, third = (SweepJob(str(k), (f"seed={k}",)) for k in range(3))
    assert read_jobs(tmp_path / "new") == []
    add_jobs(tmp_path / "new", [first, second])
    add_jobs(tmp_path / "new", [third, second])
    assert read_jobs(tmp_path / "new") == [first, second, third]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["jobs.json"]
    assert (SweepJob("a", ()).name, SweepJob("a", ("b=1", "c=2")).name) == ("default", "b=1 c=2")
