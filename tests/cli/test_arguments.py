"""A mistake in the arguments of a command is one line and status 1, as any other mistake."""

import pytest

WRONG = {
    "train --nosuch": "unrecognized arguments: --nosuch; type start-training train --help",
    "train --cfg=foo": "argument --cfg/-c: invalid choice: 'foo'",
    "draw": "the following arguments are required: FIGURE, SWEEP_DIRECTORY; type start-training draw --help",
    "draw start . --by": "argument --by: expected one argument; type start-training draw --help",
    "report . --watch soon": "argument --watch: invalid float value: 'soon'; type start-training report --help",
    "evaluate": "the following arguments are required: RUN_DIRECTORY; type start-training evaluate --help",
    "evaluate . extra": "unrecognized arguments: extra; type start-training evaluate --help",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_mistake_in_the_arguments_is_one_line_and_status_1(shell, line):
    status, output, errors = shell(*line.split())
    assert (status, output) == (1, [])
    [error] = errors
    assert error.startswith(f"error: {WRONG[line]}")
    assert "HYDRA_FULL_ERROR" not in error


def test_an_argument_without_effect_is_refused(shell, trained):
    for words, message in (
        (("evaluate", str(trained()), "--data-dir=d"), "--data-dir = 'd': has no effect on the data of start_trai"),
        (("draw", "range_test", str(trained().parent), "--x=depth"), "--x = depth: the figure range_test has no such"),
    ):
        status, _, errors = shell(*words)
        assert status == 1
        assert [error[: len(message) + 7] for error in errors] == [f"error: {message}"]
