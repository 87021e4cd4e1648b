"""The offline W&B run, read back from its file."""

import json
import struct
import time
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import DecodeError
from wandb.proto import wandb_internal_pb2

from src.jobs.record import Job
from src.jobs.train import train

BLOCK = 32768


def records(directory: Path) -> list[wandb_internal_pb2.Record]:
    """Every record of a run's file, once W&B's own process has written the last of them."""
    for _ in range(200):
        with suppress(DecodeError):  # of a record that is being written
            found = written(directory)
            if any(record.WhichOneof("record_type") == "exit" for record in found):
                return found
        time.sleep(0.1)
    raise AssertionError("W&B never wrote how the run ended")


def written(directory: Path) -> list[wandb_internal_pb2.Record]:
    """The records in a run's file: 7 bytes of its own, then LevelDB's log format."""
    [file] = directory.glob("wandb/offline-run-*/run-*.wandb")
    data, position, found, pending = file.read_bytes(), 7, [], b""
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:  # too little for a header: padding
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        pending += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last of its pieces
            found.append(wandb_internal_pb2.Record.FromString(pending))
            pending = b""
    return found


def logged(found: list[wandb_internal_pb2.Record]) -> dict:
    items = [item for record in found if record.WhichOneof("record_type") == "history" for item in record.history.item]
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_the_run_mirrors_the_directory(config, tmp_path):
    settings = config("logger=wandb")
    summary = train(Job(settings, tmp_path, overrides=("seed=0", "model.width=16"), sweep="a-sweep"))
    found = records(tmp_path)
    [run] = [record.run for record in found if record.WhichOneof("record_type") == "run"][:1]
    assert (run.project, run.run_group, run.display_name) == (
        "how-to-start-training",
        "a-sweep",
        "seed=0 model.width=16",
    )
    configs = [record.run.config for record in found if record.WhichOneof("record_type") == "run"]
    configs += [record.config for record in found if record.WhichOneof("record_type") == "config"]
    carried = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for c in configs for item in c.update}
    assert carried["model"] == settings["model"]
    metrics = logged(found)
    assert {name: metrics[name] for name in summary["metrics"]} == summary["metrics"]
    assert metrics["lengths._type"] == "image-file"
    [artifact] = [r.request.log_artifact.artifact if r.WhichOneof("record_type") == "request" else r.artifact
                  for r in found if r.WhichOneof("record_type") == "artifact"]  # fmt: skip
    folders = {Path(entry.path).parts[0] for entry in artifact.manifest.contents}
    assert folders == {"lengths", "steps", "hyperparameters"}
    assert [record.exit.exit_code for record in found if record.WhichOneof("record_type") == "exit"] == [0]


def test_a_failed_run_is_closed_with_its_status_and_the_next_is_a_run_of_its_own(config, tmp_path, monkeypatch):
    class Failure(Exception):
        pass

    def fail(*_, **__):
        raise Failure

    with monkeypatch.context() as patch:
        patch.setattr("src.models.classifier.Classifier.training_step", fail)
        try:
            train(Job(config("logger=wandb"), tmp_path / "failed"))
        except Failure:
            pass
        else:
            raise AssertionError("the failure was swallowed")
    train(Job(config("logger=wandb", "optimizer.lr=1e30"), tmp_path / "diverged"))
    for name, status in (("failed", 1), ("diverged", 0)):
        exits = [r.exit.exit_code for r in records(tmp_path / name) if r.WhichOneof("record_type") == "exit"]
        assert exits == [status]
