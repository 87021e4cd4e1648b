"""What a signal does depends on the innermost open context: it ends the process, raises, or waits for a safe point."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from start_training import stop_signals as signals
from start_training.stop_signals import (
    SIGNALS,
    Interrupted,
    check,
    deferred,
    deferring,
    listen_again,
    raising,
    received,
)


@pytest.fixture(autouse=True)
def handlers():
    before = [signal.getsignal(signum) for signum in SIGNALS]
    yield
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


@pytest.fixture
def no_repetitions(monkeypatch):
    monkeypatch.setattr(signals, "SAME_REQUEST", 0.0)


def send(signum: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), signum)


def test_a_deferred_signal_is_raised_at_the_next_check(no_repetitions):
    reached = []
    with pytest.raises(Interrupted, match="SIGTERM received") as caught, deferred():
        check()
        send()
        reached.append(received())
        check()
    assert reached == [signal.SIGTERM]
    assert caught.value.exit_status == 143
    with deferred():
        assert received() == 0  # of an earlier block


def test_a_deferred_signal_without_a_check_is_raised_at_the_end_of_the_outermost_block(no_repetitions):
    with pytest.raises(Interrupted, match="SIGINT"), deferred():
        with deferred():
            send(signal.SIGINT)
        assert deferring()
    with pytest.raises(Interrupted, match="SIGINT"), raising():
        with deferred():
            send(signal.SIGINT)
        raise AssertionError("the inner block has ended with a signal")


def test_an_error_is_not_replaced_by_a_signal():
    with pytest.raises(KeyError), deferred():
        send()
        raise KeyError


def test_a_second_request_raises_at_once_and_repetitions_do_not(no_repetitions, monkeypatch):
    with pytest.raises(Interrupted, match="SIGTERM"), deferred():
        send(signal.SIGTERM)
        monkeypatch.setattr(signals, "SAME_REQUEST", 60.0)
        send(signal.SIGINT)
        monkeypatch.setattr(signals, "SAME_REQUEST", 0.0)
        send(signal.SIGINT)
        raise AssertionError("the second request raises")


def test_raising_is_not_caught_as_an_error(no_repetitions):
    with pytest.raises(Interrupted), raising():
        assert not deferring()
        try:
            send()
        except Exception as error:
            raise AssertionError from error


def test_signals_deferred_by_an_outer_block_are_raised_where_an_inner_block_would_raise(no_repetitions):
    requests = []
    with pytest.raises(Interrupted), deferred(requests.append):
        send()
        assert requests == [1]
        with raising():
            raise AssertionError("not reached")


def test_handlers_that_a_library_replaced_are_installed_again(no_repetitions):
    listen_again()  # no context is open
    with pytest.raises(Interrupted), deferred():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        listen_again()
        send()
        check()


def test_other_threads_handle_no_signals():
    def defer():
        with deferred():
            kept.append(deferring())

    kept = []
    thread = threading.Thread(target=defer)
    thread.start(), thread.join()
    assert kept == [False]


CHILD = """
import os, signal, sys, time
from start_training.stop_signals import blocked, deferred, end_on_signals, raising
print("started", flush=True)
{body}
"""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("end_on_signals()\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)", 130),
        ("end_on_signals()\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)", 143),
        ("with blocked():\n    os.kill(os.getpid(), signal.SIGINT)\n    end_on_signals()\ntime.sleep(60)", 130),
        ("end_on_signals()\nwith deferred(): pass\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)", 130),
        ("signal.signal(signal.SIGINT, signal.SIG_IGN)\nend_on_signals()\nos.kill(os.getpid(), signal.SIGINT)", 0),
    ],
)
def test_without_a_context_a_signal_ends_the_process_with_the_status_of_a_shell_and_no_traceback(body, status):
    ended = subprocess.run([sys.executable, "-c", CHILD.format(body=body)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "started\n", "")
