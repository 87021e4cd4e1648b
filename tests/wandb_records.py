"""An offline W&B run, read back from its file."""

import json
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from wandb.proto import wandb_internal_pb2

BLOCK = 32768
Records = list[wandb_internal_pb2.Record]


def records(directory: Path) -> Records:
    """Every record of a run's file, once W&B's own process has written the last of them."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(DecodeError):  # of a record that is being written
            found = written(directory)
            if of_kind(found, "exit"):
                return found
        time.sleep(0.1)
    raise AssertionError("W&B never wrote how the run ended")


def written(directory: Path) -> Records:
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


def of_kind(found: Records, kind: str) -> list[Any]:
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def values(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def logged(found: Records) -> dict[str, Any]:
    return values(item for row in of_kind(found, "history") for item in row.item)


def config_of(found: Records) -> dict[str, Any]:
    configs = [*(run.config for run in of_kind(found, "run")), *of_kind(found, "config")]
    return values(item for config in configs for item in config.update)


def tables_of(found: Records) -> list[str]:
    """The files of its artifacts."""
    requests = [request.log_artifact.artifact for request in of_kind(found, "request")]
    artifacts = [*requests, *of_kind(found, "artifact")]
    return sorted(entry.path for artifact in artifacts for entry in artifact.manifest.contents)
