"""The same data in every form that people pass: the net gets the same arguments, and the loss is the same number."""

import collections
import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from start_training.diagnosis.evidence.prepare import prepare

ready = partial(prepare, initializer=None, readout_initializer=None, nets=2, seed=0, layers="auto")
GENERATOR = torch.Generator().manual_seed(1)
A, B = torch.randn(12, 8, generator=GENERATOR), torch.randn(12, 8, generator=GENERATOR)
Y = torch.arange(12) % 4
TOKENS = torch.randint(0, 9, (12, 5), generator=GENERATOR)
MASK = torch.ones(12, 5, dtype=torch.long)


class Core(nn.Module):
    """A weighted sum of two inputs; subclasses only differ in the arguments of `forward`."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 4), nn.Linear(8, 4)

    def core(self, a, b):
        return self.one(a) + self.two(b)

    def forward(self, a, b):
        return self.core(a, b)


class ByName(Core):
    def forward(self, *, a, b):
        return self.core(a, b)


class AnyNumber(Core):
    def forward(self, *inputs):
        return self.core(*inputs)


class AnyName(Core):
    def forward(self, **inputs):
        return self.core(inputs["a"], inputs["b"])


class OneMapping(Core):
    def forward(self, batch):
        return self.core(batch["a"], batch["b"])


class OneTuple(Core):
    def forward(self, pair):
        first, second = pair
        return self.core(first, second)


class OneObject(Core):
    def forward(self, batch):
        return self.core(batch.a, batch.b)


class WithTargets(Core):
    def forward(self, a, b, targets=None):
        logits = self.core(a, b)
        return logits, None if targets is None else F.cross_entropy(logits, targets)


class WithScale(Core):
    def forward(self, a, b, mask=None, scale=1.0):
        return self.core(a, b) * scale


class Graph:
    """As a data object of PyTorch Geometric: methods `apply` and `clone`, and no tensor or container."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def to_dict(self):
        return dict(self.__dict__)

    def clone(self):
        return Graph(**self.__dict__)

    def apply(self, function):
        self.__dict__.update({name: function(value) for name, value in self.__dict__.items()})
        return self


Named = collections.namedtuple("Named", "a b")
NamedWithTargets = collections.namedtuple("NamedWithTargets", "a b y")
Plain = dataclasses.make_dataclass("Plain", ["a", "b"])
WithY = dataclasses.make_dataclass("WithY", ["a", "b", "y"])


class Rows(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, row):
        return {"a": A[row], "b": B[row], "labels": Y[row]}


class Stream(IterableDataset):
    def __iter__(self):
        return iter([((A[row], B[row]), Y[row]) for row in range(12)])


PAIR, NAMES = (A, B), {"a": A, "b": B}
SAME = {
    "a, b, y": (Core, lambda: (A, B, Y)),
    "(a, b), y": (Core, lambda: (PAIR, Y)),
    "lists": (Core, lambda: [[A, B], Y]),
    "nested lists of numbers": (Core, lambda: ((A.tolist(), B.tolist()), Y.tolist())),
    "numpy": (Core, lambda: ((A.numpy(), B.double().numpy()), Y.numpy())),
    "pandas": (Core, lambda: ((pd.DataFrame(A.numpy()), pd.DataFrame(B.numpy())), pd.Series(Y.numpy()))),
    "mapping, y": (Core, lambda: (NAMES, Y)),
    "mapping with labels": (Core, lambda: {**NAMES, "labels": Y}),
    "mapping with target": (Core, lambda: {"target": Y, **NAMES}),
    "mapping with a name and strings": (Core, lambda: {**NAMES, "ids": ["x"] * 12, "label": Y}),
    "mapping under other names": (Core, lambda: {"first": A, "second": B, "y": Y}),
    "UserDict": (Core, lambda: collections.UserDict(**NAMES, labels=Y)),
    "namedtuple": (Core, lambda: (Named(A, B), Y)),
    "namedtuple with targets": (Core, lambda: NamedWithTargets(A, B, Y)),
    "dataclass": (Core, lambda: (Plain(A, B), Y)),
    "dataclass with targets": (Core, lambda: WithY(A, B, Y)),
    "graph with targets": (Core, lambda: Graph(a=A, b=B, y=Y)),
    "double precision": (Core, lambda: (A.double(), B.double(), Y.int())),
    "column of targets": (Core, lambda: (A, B, Y[:, None])),
    "tensors of another graph": (Core, lambda: ((A.clone().requires_grad_() * 1, B), Y)),
    "DataLoader": (Core, lambda: DataLoader(Rows(), 12)),
    "DataLoader of three": (Core, lambda: DataLoader(TensorDataset(A, B, Y), 12)),
    "DataLoader of a stream": (Core, lambda: DataLoader(Stream(), 12)),
    "generator": (Core, lambda: ((PAIR, Y) for _ in range(2))),
    "list of batches": (Core, lambda: [(PAIR, Y), (PAIR, Y)]),
    "by name only": (ByName, lambda: {**NAMES, "labels": Y}),
    "any number": (AnyNumber, lambda: (PAIR, Y)),
    "any name": (AnyName, lambda: {**NAMES, "labels": Y}),
    "one mapping": (OneMapping, lambda: {**NAMES, "labels": Y}),
    "one mapping, y": (OneMapping, lambda: (NAMES, Y)),
    "one tuple": (OneTuple, lambda: (PAIR, Y)),
    "one tuple, targets in it": (OneTuple, lambda: DataLoader(Stream(), 12)),
    "one namedtuple": (OneObject, lambda: (Named(A, B), Y)),
    "one dataclass": (OneObject, lambda: WithY(A, B, Y)),
    "one graph": (OneObject, lambda: Graph(a=A, b=B, y=Y)),
    "one graph, y": (OneObject, lambda: (Graph(a=A, b=B), Y)),
    "argument targets": (WithTargets, lambda: (A, B, Y)),
    "argument targets by name": (WithTargets, lambda: {**NAMES, "targets": Y}),
    "optional arguments": (WithScale, lambda: (PAIR, Y)),
    "optional argument by name": (WithScale, lambda: {**NAMES, "scale": 1.0, "labels": Y}),
}


@pytest.mark.parametrize("form", SAME)
def test_data_in_any_form_gives_the_same_loss(form):
    kind, build = SAME[form]
    net = kind()
    prepared = ready(net, build(), None, None)
    assert prepared.evaluation.loss.item() == pytest.approx(F.cross_entropy(net.core(A, B), Y).item(), rel=1e-5)
    assert not prepared.objective.substitute


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.readout = nn.Embedding(9, 8), nn.Linear(8, 9)

    def forward(self, ids, mask=None, position_ids=None):
        self.masked = mask is not None
        return self.readout(self.embedding(ids))


class LastState(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.readout = nn.GRU(8, 6), nn.Linear(6, 4)

    def forward(self, sequences):
        return self.readout(self.cell(sequences)[1][-1])


def test_what_stands_beside_tokens_is_a_mask_or_targets_by_its_values_and_name():
    for second, masked in ((MASK, True), (MASK.bool(), True), (TOKENS, False), (TOKENS.int(), False)):
        prepared = ready(Tokens(), (TOKENS, second), None, None)
        assert prepared.objective.substitute is masked
        assert len(prepared.batches[0].arguments) == 1 + masked


@pytest.mark.parametrize(
    ("net", "batch", "targets"),
    [
        (LastState(), torch.randn(7, 5, 8, generator=GENERATOR), (5,)),
        (LastState(), pack_padded_sequence(torch.randn(7, 5, 8, generator=GENERATOR), [7, 6, 3, 2, 1]), (5,)),
        (nn.TransformerEncoderLayer(8, 2, 8), torch.randn(7, 5, 8, generator=GENERATOR), (7,)),
        (Tokens(), TOKENS, (12,)),
        (nn.Sequential(nn.Linear(8, 4), nn.Flatten(0)), A[:1], (1,)),
    ],
    ids=["time first", "packed", "tokens and time first", "tokens", "one sample"],
)
def test_random_targets_have_one_number_for_each_sample_of_the_outputs_and_can_be_learned(net, batch, targets):
    prepared = ready(net, batch, None, None)
    assert prepared.objective.substitute and prepared.batches[0].targets.shape in (targets, (4,))
    assert prepared.batches[0].targets.abs().max() > 0.1
    prepared.evaluation.loss.backward()  # through the net
    assert (prepared.evaluation.chance is None) == (len(prepared.batches[0].targets) == 1)


class Detector(nn.Module):
    """As the detectors of torchvision: images of different sizes, a mapping of targets for each, losses by name."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 2, 3)

    def forward(self, images, targets=None):
        assert len(images) == len(targets)
        outputs = torch.stack([self.convolution(image[None]).mean((0, 2, 3)) for image in images])
        labels = torch.stack([one["labels"] for one in targets])
        return {"classes": F.cross_entropy(outputs, labels), "boxes": outputs.square().mean()}


def test_images_of_different_sizes_and_losses_by_name():
    images = [torch.rand(3, 8, 6), torch.rand(3, 5, 9)]
    prepared = ready(Detector(), (images, [{"labels": torch.tensor(1)}, {"labels": torch.tensor(0)}]), None, None)
    assert (prepared.objective.text, prepared.batches[0].samples) == ("the loss that the net returns", None)


@pytest.mark.parametrize(
    ("net", "batch"),
    [
        (nn.Linear(8, 4).bfloat16(), (A, Y)),
        (nn.Linear(8, 4).half(), (A, Y)),
        (nn.Linear(8, 4).double(), (A, Y)),
        (nn.Linear(8, 4), (A.bfloat16(), Y)),
        (torch.compile(nn.Linear(8, 4), backend="eager"), (A, Y)),
        (nn.LazyLinear(4), (A, Y)),
        (nn.Linear(8, 4, device="meta"), (A, Y)),
        (nn.Linear(8, 4).requires_grad_(False), (A, Y)),
    ],
    ids=["bf16", "fp16", "float64", "bf16 batch", "compiled", "lazy", "meta", "frozen"],
)
def test_nets_of_any_precision_and_state_are_prepared(net, batch):
    prepared = ready(net, batch, None, None)
    assert prepared.objective.text.startswith("cross-entropy") and np.isfinite(prepared.evaluation.loss.item())


@pytest.mark.parametrize(
    ("net", "batch", "message"),
    [
        (Core(), TensorDataset(A, B, Y), r"batch = TensorDataset: .* DataLoader\("),
        (Core(), None, "batch = NoneType: must be a tensor"),
        (Core(), (8, 3), "batch = tuple: must be a tensor"),
        (Core(), DataLoader(TensorDataset(A[:0])), "batch = DataLoader: has no batch"),
        (nn.Linear(8, 4), A[:, :3], r"batch = shape \(12, 3\): the net fails on this batch"),
        (nn.Linear(8, 4), (A, Y + 2), "targets: contain class 5, but the outputs have 4 classes"),
        (nn.Linear(8, 4), A / 0, "must not contain NaN"),
        (Core(), {"a": A, "b": B[:, :2]}, r"the net fails on this batch"),
    ],
)
def test_what_cannot_be_used_is_named(net, batch, message):
    with pytest.raises(ValueError, match=message):
        ready(net, batch, None, None)
