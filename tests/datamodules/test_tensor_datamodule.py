"""Properties of every datamodule, tested with the digits."""

from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.demos.boring_classes import BoringModel

from start_training.datamodules.digits import Digits
from start_training.datamodules.input_scaling import scaler
from start_training.datamodules.random_inputs import RandomInputs
from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import TensorDataModule
from tests.callbacks.tasks import fit
from tests.datamodules.test_image_folder import one_line

# Lightning 2.6.6 calls a function that torch 2.15 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")

PARTS = ["training", "validation", "test"]


class Coloured(TensorDataModule):
    """A data set of eight-bit images whose channels have different statistics."""

    input_shape = (3, 4, 4)
    classes = 2

    def load(self) -> tuple[Samples, Samples]:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (300, *self.input_shape), generator=generator)
        pixels[:, 1] //= 4
        pixels[:, 2] = 7  # a channel without variance
        targets = torch.arange(300) % 2
        samples = Samples(pixels.to(torch.uint8), targets)
        return samples.take(torch.arange(200)), samples.take(torch.arange(200, 300))


def attach(datamodule: TensorDataModule, *, ranks: int, rank: int, device: str = "cpu") -> None:
    strategy = SimpleNamespace(root_device=torch.device(device))
    datamodule.trainer = SimpleNamespace(world_size=ranks, global_rank=rank, strategy=strategy)


def test_digits_have_1293_training_144_validation_and_360_test_images():
    digits = Digits()
    assert [digits.samples(part).size for part in PARTS] == [1293, 144, 360]
    for part in PARTS:
        inputs, targets = digits.samples(part)
        assert inputs.shape[1:] == digits.input_shape and inputs.dtype == torch.float32
        assert targets.unique().tolist() == list(range(digits.classes))
    unit = [Digits(scaling="unit").samples(part).inputs for part in PARTS]
    assert all(inputs.min() == 0 and inputs.max() == 1 for inputs in unit)
    images = [{row.numpy().tobytes() for row in inputs} for inputs in unit]
    assert len(set.union(*images)) == sum(map(len, images))  # no image is in two sets


@pytest.mark.parametrize("validation", [0, 0.3])
def test_the_data_sets_do_not_depend_on_the_seed(validation):
    first, second = (Digits(validation=validation, seed=seed) for seed in (0, 1))
    for part in PARTS:
        assert torch.equal(first.samples(part).inputs, second.samples(part).inputs)
    batches = (next(iter(datamodule.train_dataloader())).targets for datamodule in (first, second))
    assert not torch.equal(*batches)


@pytest.mark.parametrize("validation", [0, 0.5])
def test_standardize_uses_only_the_statistics_of_the_training_set(validation):
    unit, standard = (Coloured(validation=validation, scaling=s) for s in ("unit", "standardize"))
    axes = (0, 2, 3)
    varying = standard.samples("training").inputs[:, :2]
    assert varying.mean(axes).abs().max() < 1e-5
    assert (varying.std(axes, correction=0) - 1).abs().max() < 1e-5
    train = unit.samples("training").inputs
    mean, std = train.mean(axes, keepdim=True), train.std(axes, keepdim=True, correction=0)
    for part in PARTS if validation else ["training", "test"]:
        expected = ((unit.samples(part).inputs - mean) / std)[:, :2]
        torch.testing.assert_close(standard.samples(part).inputs[:, :2], expected)
        assert standard.samples(part).inputs[:, 2].abs().max() < 1e-5
    assert standard.samples("test").inputs[:, :2].mean(axes).abs().max() > 1e-4  # not standardized by its own mean


def test_setup_loads_once_and_tensors_move_to_the_device_of_the_trainer(monkeypatch):
    digits = Digits()
    digits.setup("fit")
    monkeypatch.setattr(Digits, "load", None)
    attach(digits, ranks=1, rank=0, device="meta")  # a device that every machine has
    digits.setup("test")
    training, test = digits.train_dataloader(), digits.test_dataloader()
    assert next(iter(training)).inputs.is_meta and next(iter(test)).inputs.is_meta
    assert training.samples.inputs is digits.samples("training").inputs  # no second copy


def test_a_last_batch_with_fewer_samples_than_ranks_is_dropped_with_a_warning():
    digits = Digits(batch_size=323)  # 1,293 samples: four batches and one sample
    attach(digits, ranks=2, rank=0)
    message = "^batch_size = 323: drops the last 1 of 1293 samples of each epoch, because a batch must have .* 2 ranks$"
    with pytest.warns(UserWarning, match=message):
        assert len(digits.train_dataloader()) == 4
    attach(digits, ranks=1, rank=0)
    assert len(digits.train_dataloader()) == 5


def test_the_ranks_share_the_evaluation_sets():
    digits = Digits()
    blocks = []
    for rank in range(3):
        attach(digits, ranks=3, rank=rank)
        blocks.append(torch.cat([batch.targets for batch in digits.test_dataloader()]))
    assert torch.equal(torch.cat(blocks), digits.samples("test").targets)


def test_a_trainer_fits_without_validation_and_without_warnings(tmp_path):
    model = BoringModel()
    model.training_step = lambda batch: model.layer(batch.inputs).mean()
    datamodule = RandomInputs(32, validation=0, samples=128)
    assert datamodule.val_dataloader() == []
    fit(model, tmp_path, data=datamodule, log_every_n_steps=50)
    with pytest.raises(ValueError, match=r"^overfit_batches = 1: must be 0, because each epoch has other batches"):
        fit(model, tmp_path, data=datamodule, overfit_batches=1)


def on_three_ranks(datamodule: TensorDataModule) -> TensorDataModule:
    attach(datamodule, ranks=3, rank=0)
    return datamodule


@pytest.mark.parametrize(
    "mistake, message",
    [
        (lambda: Digits(batch_size=5000).setup(), "batch_size = 5000: must be at most 1293, the size of the train"),
        (
            lambda: on_three_ranks(Digits(batch_size=2)).setup(),
            "batch_size = 2: must be at least 3, the number of",
        ),
        (
            lambda: on_three_ranks(RandomInputs(test_samples=2)).test_dataloader(),
            "ranks = 3: must be at most 2, the",
        ),
        (lambda: Digits(validation=0.99999).setup(), "validation = 0.99999: must be smaller, to leave some of 1437"),
        (lambda: Digits(scaling="whiten"), "scaling = 'whiten': must be one of standardize, unit"),
    ],
)
def test_impossible_settings_are_errors_of_one_line(mistake, message):
    assert one_line(mistake).startswith(message)


def test_a_channel_that_is_constant_up_to_rounding_is_not_amplified():
    nearly = torch.full((50, 1, 4), 0.1)
    nearly[::2] = torch.nextafter(nearly[0, 0, 0], torch.tensor(1.0))
    assert scaler("standardize", nearly)(nearly).abs().max() < 1e-6
    assert scaler("standardize", nearly * torch.linspace(1, 2, 4))(nearly).abs().max() > 0.1
