"""One forward pass of a net of a config, with readings of its layers."""

from collections.abc import Callable

from torch import Tensor, nn

from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.capture import Capture, LayerReading
from start_training.lengths.layer_choice import NoLayers, choose_from_pass
from start_training.settings import described


def readings_of(
    net: nn.Module, inputs: Tensor, failure: str, *, measure: Callable[[Tensor], Tensor] = activation_lengths
) -> list[LayerReading]:
    """Run one forward pass and return the readings of its layers.

    Args:
        net: The net.
        inputs: Inputs of the net, shape (samples, …).
        failure: Beginning of the error message.
        measure: As in `Capture`.

    Raises:
        ValueError: The net raises any exception; the message is `failure`, the shape of a sample, and the exception.
            Or it has nothing to measure.
    """
    try:
        capture = Capture(net, choose_from_pass(net, "auto", [inputs]), measure=measure)
        try:
            capture.start()
            net(inputs)
            return capture.stop()
        finally:
            capture.remove()
    except NoLayers:
        raise
    except Exception as error:  # whatever a user's module raises
        raise ValueError(f"{failure} of shape {tuple(inputs.shape[1:])} ({described(error)})") from error
