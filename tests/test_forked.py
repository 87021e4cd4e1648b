"""Scripts as forks: started from several threads at once, and what they start themselves."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import forked
from tests.forked_children import FRESH

# What a process was started with, and whether it has imported Lightning before its first line.
CHILD = """
import json, os, signal, sys
print(json.dumps({"forked": "pytorch_lightning" in sys.modules, "argv": sys.argv, "folder": os.getcwd(),
    "name": __name__, "path": sys.path[0], "input": sys.stdin.read(), "variable": os.environ.get("GIVEN"),
    "parent": os.getppid() == int(os.environ["PARENT"]), "session": os.getsid(0) == os.getpid(),
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "hook": hasattr(sys, "hooked"),
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]}))
print("on stderr", file=sys.stderr)
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL) if "killed" in sys.argv else sys.exit("no" if "no" in sys.argv else 7)
"""
# Starts it in four ways, and itself once.
PARENT = """
import json, os, signal, subprocess, sys
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.signal(signal.SIGTERM, print)
variables = {**os.environ, "PARENT": str(os.getpid()), "GIVEN": "x = y"}
def start(*words, **settings):
    done = subprocess.run([sys.executable, *words], env=variables, capture_output=True, text=True, **settings)
    print(done.returncode, done.stdout, done.stderr)
start("child.py", "one", cwd="folder", input="given")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
start("-u", "-m", "child", "killed", start_new_session=True, stdin=subprocess.DEVNULL)
start("child.py", "no", stdin=subprocess.DEVNULL)
if "again" in sys.argv:
    start("parent.py", stdin=subprocess.DEVNULL)
"""


@pytest.mark.slow
def test_what_a_script_starts_is_what_a_new_interpreter_would_be(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, text in {"child": CHILD, "folder/child": CHILD, "parent": PARENT}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.hooked = True")
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}
    printed = []
    for more in ({}, {FRESH: "1"}):
        done = forked.run(tmp_path / "parent.py", "again", cwd=tmp_path, env={**variables, **more})
        assert (done.returncode, done.stderr) == (0, "")
        printed.append(done.stdout)
    assert printed[0].count('"forked": true') == printed[1].count('"forked": false') == 6
    assert printed[0].replace('"forked": true', '"forked": false') == printed[1]


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
