"""Whether ActivationLengths records on the device what it records on the CPU: same net, same batches, three steps.

Compared are all rows of lengths/: the same steps, layers and counts, and the largest relative deviation of means and
variances over samples. A negative control trains on the device with inputs that are longer by three tolerances: the
comparison has to see it. The CPU's record is of the same precision, eager; in bfloat16 autocast the two round
differently, and are as far apart as either is from float32.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks._nets import Case, dense, resnet
from benchmarks.gpu_parts.parts import Measurement
from benchmarks.gpu_parts.recorded import Tolerance, deviations, record, verdict, without_tf32

FLOAT32, TF32, BF16 = Tolerance(1e-4, 1e-3), Tolerance(3e-3, 3e-2), Tolerance(1e-2, 1e-1)


@dataclass(frozen=True)
class Setting:
    """How a net is trained on the device, and how near the record is to be to the CPU's."""

    name: str
    case: Case
    tolerance: Tolerance = FLOAT32
    precision: str = "32-true"
    compiled: bool = False
    tf32: bool = False


def measurements(device: str, *, tiny: bool) -> list[Measurement]:
    """Two nets, two precisions, and one of them compiled; the last of them takes longest."""
    fully, residual = (dense(3, 16, 1, batch=24), resnet(24, 64, 1)) if tiny else (dense(10, 500, 1), resnet(96, 64, 1))
    settings = [
        Setting("fully connected, float32", fully),
        Setting("fully connected, bf16", fully, BF16, "bf16-mixed"),
        Setting("ResNet-18, float32", residual),
        Setting("ResNet-18, bf16", residual, BF16, "bf16-mixed"),
        Setting("ResNet-18, TF32", residual, TF32, tf32=True),
        Setting("fully connected, compiled", fully, compiled=True),
    ]
    if device == "cpu":
        settings = [setting for setting in settings if not setting.tf32]
    if tiny:
        settings = [setting for setting in settings if not setting.compiled and setting.name != "ResNet-18, bf16"]
    return [Measurement(each.name, partial(measure, each, device), 3.0 if each.compiled else 1.0) for each in settings]


def measure(setting: Setting, device: str, seconds: float) -> dict[str, Any]:
    """Three trainings; see `verdict`."""
    case, precision, tolerance = setting.case, setting.precision, setting.tolerance
    reference = record(case, "cpu", precision=precision)
    on_device = partial(record, case, device, precision=precision, compiled=setting.compiled)
    with nullcontext() if setting.tf32 else without_tf32():
        ours, control = on_device(), on_device(scale=tolerance.control_scale)
    found = verdict(deviations(reference, ours), deviations(reference, control), tolerance)
    return {"net": case.name, "precision": precision, "compiled": setting.compiled, **found}
