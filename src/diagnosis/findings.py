"""What a diagnosis has found."""

from dataclasses import dataclass

from start_training.diagnosis.advice import Advice
from start_training.diagnosis.measurement import Measurement
from start_training.diagnosis.prediction import Prediction
from start_training.theory.verdict import Verdict


@dataclass(frozen=True)
class Findings:
    """What was measured, what theory says where it speaks, the verdict, and advice."""

    name: str
    batch: str
    measurement: Measurement
    measured: Verdict
    prediction: Prediction | None
    advice: tuple[Advice, ...]

    @property
    def predicted(self) -> Verdict | None:
        """Theory's verdict; None where it has none."""
        return self.prediction.verdict if self.prediction else None

    @property
    def verdict(self) -> Verdict:
        """Theory's where there is one, which no number of nets can improve on; else what was measured."""
        return self.predicted or self.measured

    @property
    def healthy(self) -> bool:
        """No failure mode."""
        return self.verdict.healthy

    @property
    def agrees(self) -> bool:
        """Whether measurement finds the failure modes that theory does; True where theory has no verdict."""
        return self.verdict.failure_modes == self.measured.failure_modes
