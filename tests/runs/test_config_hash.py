import pytest

from src.runs.config_hash import config_hash

CONFIG = {
    "seed": 0,
    "model": {"depth": 3},
    "datamodule": {"batch_size": 8, "data_dir": "here"},
    "trainer": {"max_epochs": 2, "devices": 1, "accelerator": "cpu", "strategy": "auto", "enable_progress_bar": True},
    "logger": {"csv": {}},
    "ckpt_path": None,
}


@pytest.mark.parametrize(
    "change",
    [
        {"logger": {}},
        {"ckpt_path": "somewhere"},
        {"datamodule": {"batch_size": 8, "data_dir": "there"}},
        {
            "trainer": {
                "max_epochs": 2,
                "devices": 4,
                "accelerator": "gpu",
                "strategy": "ddp",
                "enable_progress_bar": False,
            }
        },
        dict(reversed(CONFIG.items())),
    ],
)
def test_what_leaves_the_result_alone_leaves_the_hash_alone(change):
    assert config_hash({**CONFIG, **change}) == config_hash(CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"model": {"depth": 4}},
        {"datamodule": {"batch_size": 9, "data_dir": "here"}},
        {"trainer": {**CONFIG["trainer"], "max_epochs": 3}},
    ],
)
def test_what_determines_the_result_changes_the_hash(change):
    assert config_hash({**CONFIG, **change}) != config_hash(CONFIG)
