"""The result of `diagnose`: two verdicts, the findings behind them, the measurements, and advice."""

import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from start_training.diagnosis import limits
from start_training.diagnosis.advice import Advice
from start_training.diagnosis.diagnosis_text import WIDTH, Report, render
from start_training.diagnosis.evidence.measurement import LayerMeasurement
from start_training.diagnosis.evidence.net_measurement import BLOCKS, NetMeasurement
from start_training.diagnosis.finding import NO, NOT_JUDGED, YES, Finding
from start_training.diagnosis.prediction import Prediction
from start_training.diagnosis.signal_propagation import draw_signal_propagation
from start_training.diagnosis.starts import UNCERTAIN, Start, overall
from start_training.diagnosis.trials.trial import ShortTraining
from start_training.theory.verdict import Verdict

HEALTHY, UNHEALTHY, UNSURE, UNJUDGED = "HEALTHY", "UNHEALTHY", "UNCERTAIN", "NOT JUDGED"
EXIT_STATUS = {HEALTHY: 0, UNSURE: 0, UNHEALTHY: 3, UNJUDGED: 4}


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`; `print` it for a report.

    Attributes:
        name: Class name of the module.
        batch: Shape of the batch as text.
        loss: What the loss is, as text.
        starts: Whether training starts, for `sgd` and `adam`, or for the family of the given optimizer.
        findings: All findings; those with a `defect` tell which parts take no part in training.
        trials: The short trainings of copies.
        layers: Measurements of all layers and of the paths through them.
        measurement: Measurement of the worst path.
        measured: Verdict on failure modes 1 and 2 from the worst path, without theory.
        prediction: Prediction of theory; None if no law is known for the net.
        undrawn: Why the initializer has drawn nothing; empty if it has, or none was given.
        advice: Recommended changes, to be made one after the other; empty for a healthy net.

    Example:
        >>> import torch
        >>> from start_training import TorchDefault, diagnose
        >>> layers = [layer for _ in range(20) for layer in (torch.nn.Linear(64, 64), torch.nn.ReLU())]
        >>> net, images = torch.nn.Sequential(*layers), torch.randn(32, 64)
        >>> diagnosis = diagnose(net, images, initializer=TorchDefault(), optimizer="sgd")
        >>> diagnosis.verdict, diagnosis.starts["sgd"].answer, diagnosis.failure_modes
        ('UNHEALTHY', 'no', ('FM1',))
        >>> diagnosis.advice[0].action
        'Multiply the weights of 0 … 38 (20 layers) by 2.4... and set their biases to zero'
    """

    name: str
    batch: str
    loss: str
    starts: Mapping[str, Start]
    findings: tuple[Finding, ...]
    trials: tuple[ShortTraining, ...]
    layers: NetMeasurement
    measurement: LayerMeasurement
    measured: Verdict
    prediction: Prediction | None
    undrawn: str = ""
    advice: tuple[Advice, ...] = ()

    @property
    def defects(self) -> tuple[Finding, ...]:
        """The findings on parts that take no part in training, or spoil it."""
        return tuple(finding for finding in self.findings if finding.answer == YES and finding.defect)

    @property
    def unjudged(self) -> str:
        """Why the net is not judged; empty if it is."""
        coverage = self.layers.coverage
        if self.undrawn:
            return self.undrawn
        if coverage.weighted >= limits.MANY and coverage.share < limits.COVERED:
            return f"the measured layers cover too little of the net: {coverage}"
        return "" if overall(self.starts) != NOT_JUDGED else next(iter(self.starts.values())).reason

    @property
    def verdict(self) -> str:
        """`HEALTHY` (training starts, and all of the net takes part), `UNHEALTHY`, `UNCERTAIN` or `NOT JUDGED`."""
        start = overall(self.starts)
        if self.unjudged:
            return UNJUDGED
        if start == NO or self.defects:
            return UNHEALTHY
        return UNSURE if start == UNCERTAIN else HEALTHY

    @property
    def healthy(self) -> bool:
        return self.verdict == HEALTHY

    @property
    def exit_status(self) -> int:
        """Exit status of the command diagnose: 0 healthy or uncertain, 3 unhealthy, 4 not judged."""
        return EXIT_STATUS[self.verdict]

    @property
    def predicted(self) -> Verdict | None:
        """Verdict of theory on failure modes 1 and 2, or None if theory does not give one."""
        return self.prediction.verdict if self.prediction else None

    @property
    def failure_modes(self) -> tuple[str, ...]:
        """Failure modes 1 and 2 with the thresholds of SGD, of theory if it gives a verdict, otherwise as measured."""
        return (self.predicted or self.measured).failure_modes

    @property
    def agrees(self) -> bool:
        """Whether the measurement shows the failure modes that theory predicts; True without a verdict of theory."""
        return self.failure_modes == self.measured.failure_modes

    def finding(self, name: str) -> Finding:
        """Return the finding whose name contains some words, or whose defect they are.

        Raises:
            KeyError: there is none.
        """
        for finding in self.findings:
            if name in (finding.name, finding.defect) or name in finding.name:
                return finding
        raise KeyError(name)

    @property
    def report(self) -> Report:
        """What the report states; `diagnosis_text.render` lays it out."""
        subject = (
            f"{self.name}, batch of {self.batch}; loss: {self.loss}; {self.measurement.nets} initializations; "
            f"measured: {self.layers.coverage}. Limits: start_training.diagnosis.limits"
        )
        return Report(self.verdict, self.unjudged, self.starts, self.findings, subject, self.advice)

    def __str__(self) -> str:
        """Return the report as text without colours, as wide as the terminal, but at most 110 columns."""
        output = io.StringIO()
        width = min(WIDTH, get_terminal_size((WIDTH, 1)).columns)
        Console(file=output, width=width, no_color=True).print(render(self.report))
        return output.getvalue().rstrip()

    def to_frame(self) -> pd.DataFrame:
        """Return the measurements of layers 0 … d; layer 0 is the input.

        Returns:
            Columns `name`, `length` (median over nets of ‖act‖²/width), `gradient` (median of squared norms), `samples`
            and `tokens` (mean 1 − cosine between samples, and between the tokens of a sample), `branch` (share of what
            a block adds, NaN for other layers), `silent` (share of units that are always 0), `path` (number of its
            path, 0 for the longest one; −1 for none).
        """
        layers, blocks = (
            self.layers,
            [False, *(one is not None and one.kind.startswith(BLOCKS) for one in self.layers.places)],
        )
        path = np.full(len(layers.names), -1)
        for number in reversed(range(len(layers.paths))):
            path[list(layers.paths[number])] = number
        return pd.DataFrame({
            "name": layers.names,
            "length": np.median(layers.lengths, axis=0),
            "gradient": np.median(layers.gradients, axis=0),
            "samples": np.median(layers.readings_of("samples"), axis=0),
            "tokens": np.median(layers.readings_of("tokens"), axis=0),
            "branch": np.where(blocks, np.median(layers.readings_of("branch"), axis=0), math.nan),
            "silent": layers.readings_of("silent").mean(0),
            "path": path,
        })  # fmt: skip

    def plot(self, file: str | Path | None = None) -> Figure:
        """Draw length, gradient, distances and branch share against the layers, and save the figure if a file is named.

        Args:
            file: A path that ends in .png or .pdf; None: the figure is only returned.
        """
        figure = draw_signal_propagation(self.to_frame(), title=f"{self.name}: {self.verdict}")
        if file is not None:
            figure.savefig(file)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data; numbers that are not finite stay as they are."""
        predicted, measured = self.predicted, self.measurement
        return {
            "net": self.name,
            "verdict": self.verdict,
            "healthy": self.healthy,
            "not_judged": self.unjudged,
            "starts": {family: asdict(start) for family, start in self.starts.items()},
            "defects": [finding.defect for finding in self.defects],
            "findings": [asdict(finding) for finding in self.findings],
            "trials": [asdict(trial) for trial in self.trials],
            "loss": self.loss,
            "failure_modes": list(self.failure_modes),
            "by": "theory" if predicted else "measurement",
            "measured": asdict(self.measured),
            "predicted": predicted and asdict(predicted),
            "nets": measured.nets,
            "coverage": self.layers.coverage.summary(),
            "layers": list(measured.names),
            "forward": measured.forward.log.tolist(),
            "backward": measured.backward.log.tolist(),
            "silent": measured.silent.tolist(),
            "signal": self.to_frame().to_dict("list"),
            "advice": [asdict(advice) for advice in self.advice],
        }
