"""The estimated memory of a replica, compared to the memory that stacked training steps allocate."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional
from torch.profiler import profile

from start_training.datamodules.random_inputs import RandomInputs
from start_training.models.convolutional import Convolutional
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from start_training.replicas import memory
from start_training.replicas.memory import available_bytes, bytes_per_replica, optimizer_states, replica_bytes

NETS = {
    "fully connected": (partial(FullyConnected, 100, 10, depth=20, width=50), (100,)),
    "residual": (partial(Residual, 100, 10, modules=10, width=50, module_widths=[]), (100,)),
    "convolutional": (partial(Convolutional, (1, 8, 8), 10, depth=4, channels=8), (1, 8, 8)),
    "dropout": (partial(FullyConnected, 100, 10, depth=10, width=50, dropout=0.1), (100,)),
}
OPTIMIZERS = {
    0: {"_target_": "torch.optim.SGD", "momentum": 0},
    1: {"_target_": "torch.optim.SGD", "momentum": 0.9},
    2: {"_target_": "torch.optim.AdamW"},
}


def optimizer_of(config: dict, parameters) -> torch.optim.Optimizer:
    settings = {key: value for key, value in config.items() if key != "_target_"}
    return getattr(torch.optim, config["_target_"].rpartition(".")[2])(parameters, lr=0.1, **settings)


def train(nets: list[nn.Module], inputs: Tensor, states: int) -> None:
    """Train two steps on stacked nets, each with its own batch, and copy parameters and states as a group does."""
    parameters, buffers = stack_module_state(nets)
    optimizer = optimizer_of(OPTIMIZERS[states], parameters.values())

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], batch: Tensor) -> Tensor:
        logits = functional_call(nets[0], (parameters, buffers), (batch,))
        return functional.cross_entropy(logits, torch.zeros(len(batch), dtype=torch.long))

    saved: list[Tensor] = []
    for _ in range(2):
        batches = inputs.clone()
        optimizer.zero_grad()
        vmap(loss, randomness="different")(parameters, buffers, batches).sum().backward()
        optimizer.step()
        saved.clear()
        saved += [tensor.detach().clone() for tensor in parameters.values()]
        saved += [value.clone() for state in optimizer.state.values() for value in state.values() if value.dim()]


def peak(work) -> int:
    """Return the peak of the bytes that `work` allocates."""
    with profile(profile_memory=True, acc_events=True) as profiler:
        work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    (
        "name",
        "batch_size",
        "states",
    ),  # activations need most memory with large batches, weights and states with small ones
    [("residual", 1024, 1), ("convolutional", 256, 0), ("dropout", 1024, 0), ("fully connected", 8, 2)],
)
def test_the_estimate_matches_the_memory_of_one_more_replica(name, batch_size, states, monkeypatch):
    build, shape = NETS[name]
    monkeypatch.setattr(memory, "EVALUATION_BATCH", 1)
    peaks = []
    for replicas in (2, 4):
        nets, inputs = [build() for _ in range(replicas)], torch.randn(replicas, batch_size, *shape)
        peaks.append(peak(partial(train, nets, inputs, states)))
    taken = (peaks[1] - peaks[0]) / 2
    assert taken <= bytes_per_replica(build(), shape, batch_size, states=states) < 2 * taken


def test_the_estimate_equals_a_computation_by_hand():
    """Parameters, gradients, states, and a copy without gradients; twice the tensors autograd saves; the batch."""
    net, samples = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10)), 5000
    weights = 4 * (20 * 30 + 30 + 30 * 10 + 10)
    saved = 4 * samples * (30 + 10) + 8 * samples  # the activation, log-softmax and targets
    batch = 4 * samples * 20
    for states in (0, 2):
        estimate = bytes_per_replica(net, (20,), samples, states=states)
        assert estimate == pytest.approx(weights * (3 + 2 * states) + 2 * saved + batch, rel=1e-3)
    few = bytes_per_replica(net, (20,), 1, states=1)  # evaluation needs most: three times the largest output
    assert few == weights * 5 + 3 * 4 * 30 * memory.EVALUATION_BATCH


def test_the_estimate_from_a_config_equals_that_of_its_net_and_restores_random_streams():
    config = {"optimizer": OPTIMIZERS[1], "trainer": {"precision": "32-true"}}
    net = FullyConnected(20, 10, depth=2, width=30, dropout=0.5)
    datamodule, before = RandomInputs(input_size=20, batch_size=32), torch.get_rng_state()
    size = replica_bytes(config, net, datamodule)
    assert size == bytes_per_replica(net, (20,), 32, states=1)
    assert size < replica_bytes({**config, "trainer": {"precision": "64-true"}}, net, datamodule) <= 2 * size
    assert next(net.parameters()).dtype == torch.float32
    assert torch.equal(torch.get_rng_state(), before)


def test_the_number_of_optimizer_states():
    for states, config in OPTIMIZERS.items():
        assert optimizer_states({"optimizer": config}) == states
        parameter = nn.Parameter(torch.ones(3))
        built = optimizer_of(config, [parameter])
        parameter.sum().backward()
        built.step()
        assert states == sum(isinstance(state, Tensor) and state.dim() > 0 for state in built.state[parameter].values())
    assert optimizer_states({"optimizer": {"_target_": "torch.optim.SGD"}}) == 1  # overestimated


def test_available_memory_is_limited_by_the_system_and_the_cgroup(tmp_path, monkeypatch):
    system, limited, used = (tmp_path / name for name in ("meminfo", "limit", "used"))
    monkeypatch.setattr(memory, "MEMORY", system)
    monkeypatch.setattr(memory, "CGROUPS", ((str(limited), str(used)),))
    assert available_bytes("cpu") is None
    system.write_text("MemTotal: 9000 kB\nMemAvailable:    8192 kB\n")
    assert available_bytes("cpu") == 8 * 2**20  # no cgroup
    used.write_text("500000\n")
    for limit, available in (("max", 8 * 2**20), ("2000000", 1_500_000), (str(2**62), 8 * 2**20)):  # none in version 1
        limited.write_text(limit + "\n")
        assert available_bytes("cpu") == available


def test_available_gpu_memory_is_free_memory_and_memory_cached_by_torch(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert available_bytes("gpu") is None
    assert available_bytes("mps") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (123, 456))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 20)
    assert available_bytes("gpu") == available_bytes("cuda") == available_bytes("auto") == 153
