"""The base class of all datamodules: sets that are held in memory as tensors."""

from abc import abstractmethod
from typing import Annotated

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from start_training.datamodules.batch_order import BatchOrder
from start_training.datamodules.input_scaling import SCALINGS, scaler
from start_training.datamodules.loader import EvaluationLoader, TrainingLoader
from start_training.datamodules.samples import Samples
from start_training.datamodules.split import random_cut
from start_training.settings import Fraction, OneOf, PositiveInteger, WholeNumber, checked

EVALUATION_BATCH = 1000
Scaling = Annotated[str, OneOf(SCALINGS)]


class TensorDataModule(pl.LightningDataModule):
    """A training, a validation and a test set as float32 tensors on the training device.

    A subclass sets `input_shape` and `classes`, which are known before any data are loaded, and implements `load`.
    The test set is the official one where there is one, and never trained on.

    Args:
        batch_size: Samples of a global batch, of which each rank has a share (`BatchOrder`).
        validation: Fraction of the training set to cut at random for validation, the same cut for every seed; 0 means
            no validation.
        scaling: `standardize` by the channel means and deviations of the samples that remain for training, or `unit`,
            pixels in [0, 1].
        seed: Determines the order of the batches, and nothing else.

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
        """The training and the test set, inputs of shape (B, *input_shape): uint8 pixels, or floats."""

    def setup(self, stage: str | None = None) -> None:
        """Load, cut and scale the sets, once in the life of this object."""
        if self.trainer and not self.validation:
            self.trainer.limit_val_batches = 0  # Lightning warns about loaders of length 0
        if overfit := getattr(self.trainer, "overfit_batches", 0):
            # Lightning would announce that it turns the shuffling off, which it cannot do here
            raise ValueError(
                f"overfit_batches = {overfit}: the batches are drawn anew in each epoch; "
                "to overfit, train on a set of few samples"
            )
        if self._parts:
            return
        source, test = self.load()
        kept, cut = random_cut(source.size, self.validation)
        if not len(kept):
            raise ValueError(f"validation = {self.validation}: leaves none of {source.size} samples to train on")
        scale = scaler(self.scaling, source.inputs[kept])
        parts = {"training": source.take(kept), "validation": source.take(cut), "test": test}
        self._parts = {name: Samples(scale(part.inputs), part.targets) for name, part in parts.items()}
        self._order()  # so that a batch size that does not fit is an error before the sanity check

    def share(self, other: "TensorDataModule") -> None:
        """Use the sets that another datamodule has loaded, if all settings but batch_size and seed are equal."""
        if type(self) is type(other) and self._determining() == other._determining():
            self._parts = other._parts

    def _determining(self) -> dict[str, object]:
        others = ("trainer", "batch_size", "seed", "_parts", "_hparams")
        return {name: value for name, value in vars(self).items() if name not in others} | dict(self.hparams)

    def samples(self, part: str) -> Samples:
        """The `training`, `validation` or `test` set, scaled and on the training device."""
        self.setup()
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self._parts[part] = self._parts[part].to(device)
        return self._parts[part]

    def train_dataloader(self) -> TrainingLoader:
        """This rank's training batches; warns if a last batch is dropped, which has fewer samples than ranks."""
        samples, order = self.samples("training"), self._order()
        if order.dropped:
            rank_zero_warn(
                f"batch_size = {self.batch_size}: the last batch of each epoch is dropped, "
                f"{order.dropped} of {order.size} samples, fewer than the {order.ranks} ranks",
                stacklevel=5,  # the caller's line; Lightning prints what it calls in one line
            )
        return TrainingLoader(samples, order)

    def val_dataloader(self) -> EvaluationLoader | list[EvaluationLoader]:
        """This rank's block of the validation set; no loader where validation = 0."""
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> EvaluationLoader | list[EvaluationLoader]:
        """This rank's block of the test set."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, part: str) -> EvaluationLoader | list[EvaluationLoader]:
        samples, (ranks, rank) = self.samples(part), self._ranks
        if not samples.size:
            return []
        if samples.size < ranks:
            raise ValueError(f"ranks = {ranks}: more than the {samples.size} {part} samples")
        return EvaluationLoader(samples, max(self.batch_size, EVALUATION_BATCH), ranks=ranks, rank=rank)

    def _order(self) -> BatchOrder:
        ranks, rank = self._ranks
        size = self._parts["training"].size
        return BatchOrder(size, self.batch_size, seed=self.seed, ranks=ranks, rank=rank)

    @property
    def _ranks(self) -> tuple[int, int]:
        """(ranks, rank); (1, 0) without a trainer."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
