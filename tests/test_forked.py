"""Scripts started from several threads at once."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import forked


@pytest.mark.slow
def test_threads_get_the_exit_status_of_their_own_script(tmp_path):
    script = tmp_path / "exits.py"
    script.write_text("import sys; sys.exit(int(sys.argv[1]))")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda number: forked.start(script, str(number)).wait(60), range(200)))
    finally:
        sys.setswitchinterval(interval)
    assert statuses == list(range(200))
