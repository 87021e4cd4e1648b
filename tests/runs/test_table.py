import numpy as np
import pandas as pd
import pytest

from src.runs import table as module
from src.runs.table import Table


def rows(*steps: int) -> pd.DataFrame:
    return pd.DataFrame({"step": np.repeat(steps, 2), "value": np.repeat(steps, 2) + np.tile([0.0, 0.5], len(steps))})


def steps(table: Table) -> list[int]:
    return pd.read_parquet(table.directory)["step"].tolist()


@pytest.fixture
def table(tmp_path):
    table = Table(tmp_path / "table")
    for chunk in ((0, 1, 2), (3, 4), (5, 6, 7)):
        table.append(rows(*chunk))
    return table


@pytest.mark.parametrize("step", range(9))
def test_truncating_keeps_what_lies_before_the_step(table, step):
    table.truncate(step)
    if step:
        assert steps(table) == np.repeat(range(min(step, 8)), 2).tolist()
    else:
        assert not list(table.directory.glob("*.parquet"))


def test_compacting_leaves_one_file_and_the_same_rows(table):
    before = pd.read_parquet(table.directory)
    table.compact()
    assert len(list(table.directory.iterdir())) == 1
    pd.testing.assert_frame_equal(pd.read_parquet(table.directory), before)
    table.truncate(4)
    assert steps(table) == np.repeat(range(4), 2).tolist()


@pytest.mark.parametrize("survived", range(4))
def test_a_kill_while_compacting_loses_no_row_and_doubles_none(table, survived, monkeypatch):
    before = pd.read_parquet(table.directory)
    unlinked = []

    class Killed(BaseException):
        pass

    def unlink(path):
        if len(unlinked) == survived:
            raise Killed
        unlinked.append(path)
        original(path)

    def replace(source, target):
        if survived == 3 and len(unlinked) == 3:
            raise Killed
        rename(source, target)

    original, rename = type(table.directory).unlink, module.os.replace
    with monkeypatch.context() as patch:
        patch.setattr(type(table.directory), "unlink", unlink)
        patch.setattr(module.os, "replace", replace)
        with pytest.raises(Killed):
            table.compact()
    if survived < 3:  # a reader who comes in between may miss rows, and sees none twice
        assert not pd.read_parquet(table.directory)["value"].duplicated().any()
    reopened = Table(table.directory)
    pd.testing.assert_frame_equal(pd.read_parquet(reopened.directory), before)


def test_half_a_part_is_never_read(table):
    (table.directory / ".part-000000000008.parquet.partial").write_bytes(b"half")
    assert steps(table) == np.repeat(range(8), 2).tolist()
