"""The tables of each fit are kept, and a fit that resumes goes on with its own."""

import pandas as pd
import pytest

from start_training.callbacks.activation_lengths import ActivationLengths
from tests.callbacks.tasks import BATCHES, Plain, fit, mlp, small

pytestmark = small


def steps(callback: ActivationLengths) -> list[int]:
    return pd.read_parquet(callback.tables_directory / "steps")["step"].tolist()


@pytest.mark.parametrize("explicit", [True, False])
def test_two_fits_in_one_directory_are_both_kept_and_each_goes_on(tmp_path, explicit, capsys):
    def trained(name: str, epochs: int, resume: bool = False, **options) -> ActivationLengths:
        callback = ActivationLengths(tmp_path if explicit else None, resume=resume)
        trainer = fit(Plain(mlp()), tmp_path, callback, max_epochs=epochs, **options)
        trainer.save_checkpoint(tmp_path / f"{name}.ckpt")
        return callback

    first, second = trained("first", 1), trained("second", 2)
    folders = ["", "activation_lengths/0"] if explicit else ["activation_lengths/0", "activation_lengths/1"]
    assert [callback.tables_directory for callback in (first, second)] == [tmp_path / name for name in folders]
    assert (steps(first), steps(second)) == ([*range(BATCHES)], [*range(2 * BATCHES)])
    printed = [f"ActivationLengths: the tables of this fit are in {tmp_path / name}" for name in folders if name]
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("ActivationLengths: the tables")] == printed
    assert sum(line.startswith("ActivationLengths: 1 activation; 1 of 2 weighted") for line in lines) == 2

    again = trained("third", 3, ckpt_path=tmp_path / "first.ckpt")
    assert again.tables_directory == first.tables_directory and steps(again) == [*range(3 * BATCHES)]
    assert steps(second) == [*range(2 * BATCHES)]
    newest = trained("fourth", 1, resume=True)
    assert newest.tables_directory == second.tables_directory and steps(newest) == [*range(BATCHES)]


def test_a_trainer_that_goes_on_keeps_its_directory(tmp_path):
    callback, task = ActivationLengths(), Plain(mlp())
    trainer = fit(task, tmp_path, callback, max_epochs=1)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(task)
    assert callback.tables_directory == tmp_path / "activation_lengths" / "0"
    assert steps(callback) == [*range(2 * BATCHES)]
    fit(task, tmp_path, callback, max_epochs=1)  # the same callback, with another Trainer
    assert callback.tables_directory == tmp_path / "activation_lengths" / "1"


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "notes.txt").write_text("mine")
    callback = ActivationLengths(tmp_path)
    fit(Plain(mlp()), tmp_path, callback, max_epochs=1)
    assert callback.tables_directory == tmp_path / "activation_lengths" / "0"
    assert [path.name for path in (tmp_path / "steps").iterdir()] == ["notes.txt"]
