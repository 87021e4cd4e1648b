"""The process of one part: it makes the part's measurements one after the other, and appends what came of each.

A line of JSON each: the names of all of them first, then for each that it has begun, and how it ended.
"""

import gc
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.gpu_parts.parts import Measurement, share
from start_training.settings import described

Write = Callable[[dict[str, Any]], None]


def main(order: dict[str, Any]) -> None:
    """Work on what `process.run_part` has ordered."""
    deadline = time.monotonic() + order["seconds"]
    with open(order["lines"], "a") as file:

        def write(line: dict[str, Any]) -> None:
            file.write(json.dumps(line, default=float) + "\n")
            file.flush()

        module = import_module(order["module"])
        for name in ("pytorch_lightning", "lightning_fabric"):  # which devices it found, and tips
            logging.getLogger(name).setLevel(logging.WARNING)
        make(module.measurements(order["device"], tiny=order["tiny"]), deadline, write)


def make(measurements: list[Measurement], deadline: float, write: Write) -> None:
    """All of them. One that fails says why, and the others follow."""
    write({"names": [measurement.name for measurement in measurements]})
    for index, (name, measure, _) in enumerate(measurements):
        seconds = share(deadline - time.monotonic(), [each.weight for each in measurements[index:]])
        write({"index": index, "state": "running"})
        start = time.monotonic()
        try:
            result = {"state": "done", **measure(seconds)}
        except Exception as error:
            print(f"{name}:", file=sys.stderr)
            traceback.print_exc()
            result = {"state": "failed", "reason": described(error)[:500]}
            error.__traceback__ = None  # whose frames hold tensors
        write({"index": index, "seconds": round(time.monotonic() - start, 3), **result})
        _free_memory()


def _free_memory() -> None:
    """What the next measurement is to find free: on a GPU torch keeps what has been used."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
