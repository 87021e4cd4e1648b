"""The base class of all datamodules, which hold their data sets in memory as tensors."""

from abc import abstractmethod
from typing import Annotated

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.input_scaling import SCALINGS, scaler
from start_training.datamodules.loader import EvaluationLoader, TrainingLoader
from start_training.datamodules.samples import Samples, draw_rows
from start_training.datamodules.split import random_cut
from start_training.settings import Fraction, OneOf, PositiveInteger, WholeNumber, checked

EVALUATION_BATCH = 1000
Scaling = Annotated[str, OneOf(SCALINGS)]


class TensorDataModule(pl.LightningDataModule):
    """Base class of datamodules with a training, a validation and a test set as float32 tensors on the training device.

    A subclass sets `input_shape` and `classes` (`outputs` for regression, `labels` for several labels per sample),
    which are known before any data are loaded, and implements `load`.
    The test set is the official one if the data set has one.

    Args:
        batch_size: Number of samples in a global batch, which all ranks share (`BatchOrder`).
        validation: Fraction of the training set to use for validation, chosen at random but the same for every seed;
            0 means no validation.
        scaling: `standardize` to give each channel mean 0 and variance 1 on the training set (without the validation
            set), or `unit` to scale pixels to [0, 1].
        seed: Seed of the order of the training samples; it determines nothing else.

    Raises:
        ValueError: a setting has a value that is not allowed.
    """

    input_shape: tuple[int, ...]
    classes: int

    @checked
    def __init__(
        self,
        *,
        batch_size: PositiveInteger = 64,
        validation: Fraction = 0.1,
        scaling: Scaling = "standardize",
        seed: WholeNumber = 0,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.validation = validation
        self.scaling = scaling
        self.seed = seed
        self._parts: dict[str, Samples] = {}

    @abstractmethod
    def load(self) -> tuple[Samples, Samples]:
        """Load the training and the test set, with inputs of shape (B, *input_shape), as uint8 pixels or floats."""

    def setup(self, stage: str | None = None) -> None:
        """Load, split and scale the data sets; later calls do nothing."""
        if self.trainer and not self.validation:
            self.trainer.limit_val_batches = 0  # avoids Lightning's warning about loaders of length 0
        if overfit := getattr(self.trainer, "overfit_batches", 0):
            # Lightning would say that it disables shuffling, which has no effect on `TrainingLoader`.
            raise ValueError(
                f"overfit_batches = {overfit}: must be 0, because each epoch has other batches; "
                "to overfit, train on a data set of few samples"
            )
        if self._parts:
            return
        source, test = self.load()
        remaining, cut = random_cut(source.size, self.validation)
        if not len(remaining):
            raise ValueError(
                f"validation = {self.validation}: must be smaller, to leave some of {source.size} samples for training"
            )
        scale = scaler(self.scaling, source.inputs[remaining])
        parts = {"training": source.take(remaining), "validation": source.take(cut), "test": test}
        parts = {name: Samples(scale(part.inputs), part.targets) for name, part in parts.items()}
        self._parts = self.scale_targets(parts)
        self._order()  # raises an error for an impossible batch size before Lightning's sanity check

    def scale_targets(self, parts: dict[str, Samples]) -> dict[str, Samples]:
        """Return the sets with scaled targets; class numbers stay as they are."""
        return parts

    def share(self, other: "TensorDataModule") -> None:
        """Use the data that another datamodule has loaded, if all settings except batch_size and seed are equal."""
        if type(self) is type(other) and self._determining() == other._determining():
            self._parts = other._parts

    def _determining(self) -> dict[str, object]:
        ignored = ("trainer", "batch_size", "seed", "_parts", "_hparams")
        return {name: value for name, value in vars(self).items() if name not in ignored} | dict(self.hparams)

    def samples(self, part: str) -> Samples:
        """Return the `training`, `validation` or `test` set, scaled and on the training device."""
        self.setup()
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self._parts[part] = self._parts[part].to(device)
        return self._parts[part]

    def draw_inputs(self, count: int, generator: np.random.Generator) -> torch.Tensor:
        """Draw inputs independently from their distribution, which is that of the training set.

        Each input is a training input, drawn at random with replacement. A subclass whose inputs are random itself
        draws new ones.

        Args:
            count: Number of inputs, B.
            generator: Source of all random numbers.

        Returns:
            Shape (B, *input_shape), scaled.
        """
        return draw_rows(self.samples("training").inputs, count, generator)

    def train_dataloader(self) -> TrainingLoader:
        """Create the loader of this rank's training batches.

        It warns if the last batch of each epoch is dropped because it has fewer samples than there are ranks.
        """
        samples, order = self.samples("training"), self._order()
        if order.dropped:
            rank_zero_warn(
                f"batch_size = {self.batch_size}: drops the last {order.dropped} of {order.size} samples of each "
                f"epoch, because a batch must have a sample for each of {order.ranks} ranks",
                stacklevel=5,  # shows the line of the caller
            )
        return TrainingLoader(samples, order)

    def val_dataloader(self) -> EvaluationLoader | list[EvaluationLoader]:
        """Create the loader of this rank's block of the validation set; an empty list if validation = 0."""
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> EvaluationLoader | list[EvaluationLoader]:
        """Create the loader of this rank's block of the test set; an empty list if the set is empty."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, part: str) -> EvaluationLoader | list[EvaluationLoader]:
        samples, (ranks, rank) = self.samples(part), self._ranks
        if not samples.size:
            return []
        if samples.size < ranks:
            raise ValueError(f"ranks = {ranks}: must be at most {samples.size}, the number of {part} samples")
        return EvaluationLoader(samples, max(self.batch_size, EVALUATION_BATCH), ranks=ranks, rank=rank)

    def _order(self) -> BatchOrder:
        ranks, rank = self._ranks
        size = self._parts["training"].size
        return BatchOrder(size, self.batch_size, seed=self.seed, ranks=ranks, rank=rank)

    @property
    def _ranks(self) -> tuple[int, int]:
        """Number of ranks and the rank of this process; (1, 0) without a trainer."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
