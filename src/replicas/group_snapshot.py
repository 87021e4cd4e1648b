"""Where the replicas of a group stand, to be written as their checkpoints, now or later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from start_training.replicas.checkpoint import Progress, callback_states, checkpoint_of, save
from start_training.replicas.optimizer import StackedOptimizer
from start_training.replicas.replica import Replica
from start_training.replicas.stack import Stack
from start_training.runs.directory import RunDirectory


@dataclass(frozen=True)
class GroupSnapshot:
    """What all replicas hold at a moment: as it is in a stack and its optimizer, until they take another step."""

    replicas: Sequence[Replica]
    moment: Progress
    stack: Stack
    optimizer: StackedOptimizer
    parameters: Tensor
    rest: dict[str, Tensor]
    states: dict[str, Tensor]
    callbacks: list[dict[str, Any]]

    @classmethod
    def of(
        cls, replicas: Sequence[Replica], moment: Progress, stack: Stack, optimizer: StackedOptimizer
    ) -> "GroupSnapshot":
        """Now."""
        held = stack.parameters, stack.rest, optimizer.states
        return cls(list(replicas), moment, stack, optimizer, *held, [callback_states(each) for each in replicas])

    def copied(self) -> "GroupSnapshot":
        """One that stays, whatever the replicas do."""
        rest, states = ({name: each.clone() for name, each in held.items()} for held in (self.rest, self.states))
        return replace(self, parameters=self.parameters.clone(), rest=rest, states=states)

    def save(self, replica: Replica) -> None:
        """Write a replica's last checkpoint."""
        row = self.replicas.index(replica)
        states = {name: self.stack.of(row, state) for name, state in self.states.items()}
        self.optimizer.export(replica.optimizer, states, self.moment.steps)
        net = self.stack.state_dict(row, self.parameters, self.rest)
        checkpoint = checkpoint_of(replica, self.moment, net, self.callbacks[row])
        replica.optimizer.state.clear()  # views, which would keep the memory of those that leave
        save(checkpoint, RunDirectory(replica.directory).checkpoint)
