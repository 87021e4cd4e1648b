"""Repairs of single parameters: values that are not finite, zeros and equal units, biases that switch layers off."""

import math

import torch
from torch import Generator, nn

from start_training.cure.changing_pass import LayerCall, change_in_pass
from start_training.diagnosis.evidence.measurement import LayerMeasurement
from start_training.diagnosis.evidence.parameter_gradients import parameter_gradients
from start_training.diagnosis.evidence.prepare import Prepared
from start_training.diagnosis.finding import listed
from start_training.initializers.weight_matrix import Weight
from start_training.initializers.weights import weights_of
from start_training.lengths.activation_functions import RECURRENT_MODULES

DOMINATES = 4.0  # root mean square of biases over that of the outputs without them, from which they decide the outputs
OUTLYING = 6.0  # nats by which a layer differs from the median layer of its path


@torch.no_grad()
def replace_not_finite_(net: nn.Module, case: Prepared, generator: Generator) -> str:
    """Draw entries that are infinite or NaN with the mean and variance of the others."""
    changed = []
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        bad = ~tensor.isfinite()
        if not bad.any() or (isinstance(tensor, nn.Parameter) and not tensor.requires_grad):
            continue
        good = tensor[~bad].double()
        mean = float(good.mean()) if len(good) else 0.0
        deviation = float(good.std()) if len(good) > 1 and tensor.dim() > 1 else 0.0
        tensor[bad] = (mean + deviation * torch.randn(int(bad.sum()), generator=generator)).to(tensor.dtype)
        changed.append(name)
    return f"drew the entries of {listed(changed)} that were infinite or NaN" if changed else ""


def redraw_equal_(net: nn.Module, case: Prepared, generator: Generator) -> str:
    """Draw weights of which all units are equal, and weights of 0 that keep the gradient from others."""
    weights = [weight for weight in weights_of(net) if trainable(weight)]
    gradients = parameter_gradients(net, case.batches[0], case.objective, seed=0)
    equal = {id(one) for name, one in net.named_parameters() if name in gradients.symmetric}
    redrawn = [weight for weight in weights if not weight.is_zero() and equal & {id(one) for one in weight.stored}]
    for weight in redrawn:
        draw_(weight, generator)
    names, stuck = [weight.name for weight in redrawn], gradients.zero
    zero = [weight for weight in weights if weight.is_zero()]
    norms = [name for name, module in net.named_modules() if _is_zero_norm(module)]
    while stuck and (zero or norms):
        if norms:
            with torch.no_grad():
                net.get_parameter(f"{norms[0]}.weight".lstrip(".")).fill_(1.0)
            names.append(norms.pop(0))
        else:
            draw_(zero[0], generator)
            names.append(zero.pop(0).name)
        stuck = parameter_gradients(net, case.batches[0], case.objective, seed=0).zero
    return f"drew {listed(names)}, which were 0 or had equal units" if names else ""


def trainable(weight: Weight) -> bool:
    """Return whether a weight is stored in parameters that are trained."""
    return bool(weight.stored) and all(one.requires_grad for one in weight.stored)


def _is_zero_norm(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    return "norm" in type(module).__name__.lower() and weight is not None and weight.requires_grad and not weight.any()


@torch.no_grad()
def draw_(weight: Weight, generator: Generator, *, variance: float = 2.0, orthogonal: bool = False) -> None:
    """Draw a weight, through what computes it.

    Args:
        weight: The weight.
        generator: Generator of the random numbers.
        variance: fan_in · Var W.
        orthogonal: Whether each matrix is a multiple of an orthogonal one.
    """
    values = weight.computed().detach().clone()
    matrices = weight.layout.matrices(values)
    drawn = torch.randn(matrices.shape, generator=generator, dtype=torch.float32)
    if orthogonal:
        for matrix in drawn:
            nn.init.orthogonal_(matrix, generator=generator)
        drawn /= drawn.square().mean().sqrt()
    matrices.copy_((drawn * math.sqrt(variance / weight.fans.fan_in)).to(matrices))
    weight.write_(values)


def clear_dead_biases_(net: nn.Module, case: Prepared, generator: Generator) -> str:
    """Set biases to 0 that are so large, beside what their layer computes without them, that they alone decide."""
    cleared, names = list[str](), {module: name for name, module in net.named_modules()}

    def look(call: LayerCall) -> None:
        biases = _biases(call.module)
        size = max(float(bias.double().square().mean().sqrt()) for bias in biases)
        kept, output = [bias.clone() for bias in biases], call.output
        for bias in biases:
            bias.zero_()
        call.again()
        values = call.values
        if values is not None and size > DOMINATES * float(values.square().mean().sqrt()):
            cleared.append(names[call.module] or type(call.module).__name__)
            return
        call.output = output
        for bias, was in zip(biases, kept, strict=True):
            bias.copy_(was)

    change_in_pass(net, case, {module: look for module in names if _biases(module)})
    return f"set the biases of {listed(cleared)} to 0, which decided its outputs" if cleared else ""


def _biases(module: nn.Module) -> list[nn.Parameter]:
    if isinstance(module, RECURRENT_MODULES):  # large biases of gates are wanted
        return []
    own = module._parameters.items()
    return [one for name, one in own if one is not None and "bias" in name and one.requires_grad and bool(one.any())]


def restore_outlying_(net: nn.Module, paths: list[LayerMeasurement]) -> str:
    """Scale the weights that feed single layers whose growth differs from that of the other layers of their path."""
    weights, scaled = weights_of(net), dict[str, float]()
    for path in paths:
        rates = torch.from_numpy(path.forward.log).nan_to_num(0.0)
        if len(rates) < 3:
            continue
        usual = float(rates.median())
        for index, rate in enumerate(rates.tolist()):
            feeding = [name for name in path.feeds[index + 1] if name not in scaled]
            first = index == 0 and path.names[0] == "input"  # inputs have any scale
            if abs(rate - usual) > OUTLYING and feeding and not first:
                scaled |= dict.fromkeys(feeding, math.exp(-(rate - usual) / 2 / len(feeding)))
    for weight in weights:
        if weight.layer in scaled and trainable(weight):
            weight.scale_(scaled[weight.layer])
    parts = [f"{name} by {factor:.3g}" for name, factor in scaled.items()]
    return f"multiplied the weights of {listed(parts)}, which changed lengths unlike the others" if parts else ""
