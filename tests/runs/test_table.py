"""A table on disk behaves like a list of rows under all operations, and loses no row if a process is killed."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.runs import table as module
from start_training.runs.table import Table, read_rows

APPEND = st.tuples(st.just("append"), st.lists(st.integers(0, 2), max_size=4))  # increments of step
OTHERS = [st.tuples(st.just("truncate"), st.integers(0, 20)), st.sampled_from([("compact", 0), ("reopen", 0)])]


def rows(steps: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"step": steps, "value": [step + 0.5 for step in steps]}).astype({"step": "int64"})


@given(st.lists(st.one_of(APPEND, *OTHERS), max_size=6))
def test_a_table_behaves_like_a_list_of_rows(operations):
    with TemporaryDirectory() as folder:
        table, steps = Table(Path(folder) / "table"), []
        for name, how in operations:
            if name == "append":
                added = [(steps[-1] + 1 if steps else 0) + sum(how[: index + 1]) for index in range(len(how))]
                table.append(rows(added))
                steps += added
            elif name == "truncate":
                table.truncate(how)
                steps = [step for step in steps if step < how]
            elif name == "compact":
                table.compact()
                assert len(list(table.directory.iterdir())) <= 1
            else:
                table = Table(table.directory)
        read = table.read()
        assert (read is not None) == bool(steps)
        pd.testing.assert_frame_equal(rows([]) if read is None else read, rows(steps))


@pytest.mark.parametrize("survived", range(4))
def test_a_kill_while_compacting_loses_and_duplicates_no_row(tmp_path, survived, monkeypatch):
    table, unlinked = Table(tmp_path), []
    for steps in ([0, 0, 1], [2, 3], [5, 6]):
        table.append(rows(steps))
    before, unlink, rename = table.read(), Path.unlink, module.os.replace

    class Killed(BaseException):
        pass

    def killed_at(number, call):
        def act(*arguments):
            if len(unlinked) == number == survived:
                raise Killed
            unlinked.extend(arguments[:1] if call is unlink else [])
            call(*arguments)

        return act

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "unlink", lambda path: killed_at(min(len(unlinked), 2), unlink)(path))
        patch.setattr(module.os, "replace", killed_at(3, rename))
        table.compact()
    (tmp_path / ".part-000000000008.parquet.partial").write_bytes(b"half")  # left by a kill while writing
    pd.testing.assert_frame_equal(read_rows(tmp_path, columns=["value"]), before)
    if survived < 3:  # a plain reader in between may miss rows, but sees no row twice
        assert len(pd.read_parquet(tmp_path)) in (7, 4, 2)
    pd.testing.assert_frame_equal(Table(tmp_path).read(), before)
