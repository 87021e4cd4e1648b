"""Which modules and functions are activations: the nonlinear functions between the layers of a net."""

from torch import nn
from torch.nn.modules import activation as torch_activations

# Activation modules: those in torch.nn.modules.activation that neither normalize over units nor contain layers.
_NO_ACTIVATION = (nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax, nn.MultiheadAttention)
ACTIVATION_MODULES = tuple(
    module
    for name in torch_activations.__all__
    if not issubclass(module := getattr(torch_activations, name), _NO_ACTIVATION)
)
RECURRENT_MODULES = (nn.RNNBase, nn.RNNCellBase)

# Names of functions and tensor methods that are activations wherever they are called.
_ACTIVATION_FUNCTIONS_NAMES = (
    "celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish prelu relu relu6 "
    "rrelu selu sigmoid silu softplus softshrink softsign tanh tanhshrink threshold"
)
ACTIVATION_FUNCTIONS = frozenset(_ACTIVATION_FUNCTIONS_NAMES.split())
# Activations that are often factors of a product, as gates; the product is not known to be an activation then.
GATES = frozenset(["sigmoid", "tanh", "hardsigmoid"])
# Functions that are activations if a module without weights contains them, such as sin in a SIREN.
_PARTS_OF_ACTIVATIONS_NAMES = "clamp clamp_max clamp_min clip cos erf fmax maximum sin"
PARTS_OF_ACTIVATIONS = ACTIVATION_FUNCTIONS | frozenset(_PARTS_OF_ACTIVATIONS_NAMES.split())
# Functions over several units: a module with one of them normalizes, although it may also contain one of the above.
_OVER_UNITS_NAMES = "cumsum log_softmax logsumexp mean norm normalize softmax std sum var vector_norm"
OVER_UNITS = frozenset(_OVER_UNITS_NAMES.split())
# Other nonlinear functions.
_NONLINEAR_NAMES = (
    "gru lstm multi_head_attention_forward rnn_relu rnn_tanh scaled_dot_product_attention softmax "
    "transformer_encoder_layer_fwd"
)
NONLINEAR = PARTS_OF_ACTIVATIONS | frozenset(_NONLINEAR_NAMES.split())


def function_name(function: object) -> str:
    """Return the name of a torch function or method, without the underscores of a method or an in-place version.

    Example:
        >>> import torch
        >>> function_name(torch.relu_), function_name(torch.Tensor.__mul__), function_name(torch.Tensor.add_)
        ('relu', 'mul', 'add')
    """
    return getattr(function, "__name__", "").strip("_")
