"""The function `diagnose`, which predicts whether a net will start training, and whether all of it takes part."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from torch import nn

from start_training.diagnosis import parameter_findings as of_parameters
from start_training.diagnosis import signal_findings as of_signal
from start_training.diagnosis.advice import Advice, advise_fully_connected, advise_residual, advise_widths
from start_training.diagnosis.diagnosis import Diagnosis
from start_training.diagnosis.evidence.net_measurement import NetMeasurement
from start_training.diagnosis.evidence.nets import Nets
from start_training.diagnosis.evidence.parameter_gradients import parameter_gradients
from start_training.diagnosis.evidence.prepare import Prepared, prepare
from start_training.diagnosis.finding import Finding
from start_training.diagnosis.prediction import Prediction, predict
from start_training.diagnosis.scale_search import advise_scales
from start_training.diagnosis.signal_findings import PathVerdict
from start_training.diagnosis.starts import doubts_of, start_with
from start_training.diagnosis.trials.trial import STEPS, run_trials
from start_training.diagnosis.trials.trial_optimizers import TrialOptimizer, trial_optimizers
from start_training.initializers.drawing import FillTensor
from start_training.lengths.layer_choice import check_layers
from start_training.settings import AtLeast, Seed, checked
from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.residual import ResidualLaw
from start_training.theory.verdict import DEFAULTS, FM1, FM2, Thresholds


@checked
def diagnose(
    net: nn.Module,
    batch: Any,
    *,
    loss: Any = None,
    targets: Any = None,
    optimizer: Any = None,
    trial: bool | int = True,
    initializer: FillTensor | None = None,
    readout_initializer: FillTensor | None = None,
    nets: Annotated[int, AtLeast(2)] = 10,
    thresholds: Thresholds = DEFAULTS,
    layers: str | Sequence[str] = "auto",
    modules: Sequence[str] | None = None,
    seed: Seed = 0,
) -> Diagnosis:
    """Predict whether `net` will start training, with which optimizer, and whether all of it takes part.

    Lengths of activations and gradients are measured along each path from an input to the loss, over several
    initializations; each parameter's gradient in the net's own precision; and copies are trained for a few steps.
    Neither the module nor any global random stream is changed. Sources: Hanin & Rolnick 2018 (arXiv:1803.01719), and
    those of each finding; docs/diagnosis.md states all limits and what they were calibrated on.

    Args:
        net: Any module. A LightningModule is judged by its own `training_step`.
        batch: What the net takes: a tensor, a NumPy array, a tuple of arguments, a mapping of keyword arguments, a
            dataclass, a graph; or a pair (inputs, targets); or a DataLoader of these, of which the first batches are
            used. The first axis is samples.
        loss: A function of outputs and targets, or its name, such as `cross_entropy` or `mse`. None: see `Objective`.
        targets: The targets, unless they are in the batch.
        optimizer: `sgd`, `adam`, an optimizer of this net, or what builds one from parameters. None: both, at a few
            rates; of a LightningModule its own.
        trial: Whether to train copies, or for how many steps (30; twice as many if the loss has not fallen by then).
        initializer: Initializer of all copies, as in `initialize_`. None: the first copy has the weights of `net`, and
            the other copies get weights that are redrawn from them, which is valid for freshly initialized modules (see
            `Redraw`).
        readout_initializer: Initializer of the readout of all copies; None: the same as of the other layers.
        nets: Number of copies whose lengths are measured, at least 2.
        thresholds: Thresholds of failure modes 1 and 2; see `Thresholds` for the reasons for the default values.
        layers: `auto`, `blocks`, `activations`, `weights`, or name patterns of the layers; see `choose_layers`.
        modules: Another name of `layers`.
        seed: Seed of all random numbers; the same arguments and seed give the same diagnosis.

    Returns:
        Two verdicts, all findings, the measurements, and advice on what to change; `print` it for a report.

    Raises:
        ValueError: a setting is not allowed, the net has no layer to measure, or it fails on the batch.

    Example:
        >>> import torch
        >>> net = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(20)))
        >>> diagnosis = diagnose(net, torch.randn(32, 64), initializer=nn.init.kaiming_normal_)
        >>> diagnosis.healthy, diagnosis.starts["sgd"].answer
        (True, 'yes')
    """
    if modules is not None and layers != "auto":
        raise ValueError(f"modules = {modules}: is another name of layers, which is {layers}; set only one of them")
    layers = layers if modules is None else modules
    check_layers(net, layers, "layers" if modules is None else "modules")
    optimizers = trial_optimizers(net, optimizer)
    settings = {"nets": nets, "seed": seed, "layers": layers}
    case = prepare(
        net, batch, targets, loss, initializer=initializer, readout_initializer=readout_initializer, **settings
    )
    diagnosis = examine(case, optimizers, trial=trial, initializer=initializer, thresholds=thresholds)
    if diagnosis.healthy and not diagnosis.prediction:
        return diagnosis  # a good net costs no search for advice
    return replace(diagnosis, advice=tuple(_advice(case.nets, diagnosis.layers, diagnosis, thresholds)))


def examine(
    case: Prepared,
    optimizers: Sequence[TrialOptimizer],
    *,
    trial: bool | int = True,
    initializer: FillTensor | None = None,
    thresholds: Thresholds = DEFAULTS,
) -> Diagnosis:
    """Return the diagnosis of a prepared net, without advice.

    Args:
        case: The net, its batches and its loss.
        optimizers: The optimizers of the trials.
        trial: As in `diagnose`, as the others.
        initializer: The initializer of the net, if known.
        thresholds: Thresholds of failure modes 1 and 2.
    """
    net, seed = case.first, case.settings["seed"]
    measured = case.nets.measure()
    prediction = predict(net, initializer, measured.measured_paths[0][0], thresholds)
    paths = of_signal.path_verdicts(measured, thresholds)
    findings = _findings(case, measured, paths, prediction, thresholds, optimizers)
    trials = None
    if trial:
        steps = STEPS if trial is True else trial
        doubtful = bool(doubts_of(findings, paths, thresholds))
        trials = run_trials(
            case.first, case.batches, case.objective, optimizers, steps=steps, seed=seed, doubtful=doubtful
        )
    starts = {
        family: start_with(family, findings, paths, trials, thresholds)
        for family in dict.fromkeys(one.family for one in optimizers)
    }
    return Diagnosis(
        name=type(net).__name__,
        batch=case.batches[0].shape,
        loss=case.objective.text,
        starts=starts,
        findings=tuple(findings),
        trials=tuple(trials or ()),
        layers=measured,
        measurement=paths[0].measured,
        measured=paths[0].verdict,
        prediction=prediction,
        undrawn=case.nets.undrawn,
    )


def _findings(
    case: Prepared,
    measured: NetMeasurement,
    paths: list[PathVerdict],
    prediction: Prediction | None,
    thresholds: Thresholds,
    optimizers: Sequence[TrialOptimizer],
) -> list[Finding]:
    gradients = parameter_gradients(case.first, case.batches[0], case.objective, seed=case.nets.seed)
    start, mechanisms = float(case.evaluation.loss.detach()), measured.mechanisms
    parameters = [one for one in case.first.parameters() if one.is_floating_point()]
    dtypes = sorted({str(one.dtype).removeprefix("torch.") for one in parameters})
    wakes = not gradients.zero and all(one.requires_grad for one in case.first.parameters())
    return [
        of_parameters.finite(gradients, start, dtypes, float(measured.readings_of("largest").max())),
        of_signal.growth(paths, prediction, thresholds),
        of_signal.jump(paths),
        of_signal.agreement(paths, prediction, thresholds),
        of_signal.constant(measured, wakes=wakes),
        of_parameters.without_gradient(
            gradients,
            disagree=any(not path.verdict.spread <= thresholds.beta for path in paths),
            optimizers=optimizers,
        ),
        of_parameters.detached(gradients),
        of_parameters.symmetric(gradients),
        of_signal.tokens(measured),
        of_signal.sensitivity(measured),
        of_parameters.loss_at_start(case.evaluation, start, substitute=case.objective.substitute),
        of_parameters.probabilities(case.evaluation),
        of_parameters.attention(mechanisms.attention),
        of_parameters.through_time(mechanisms.time),
        of_parameters.dropout(mechanisms.dropout),
    ]


def _advice(nets: Nets, measured: NetMeasurement, diagnosis: Diagnosis, thresholds: Thresholds) -> list[Advice]:
    prediction = diagnosis.prediction
    if prediction and prediction.verdict:
        law = prediction.law
        if isinstance(law, FullyConnectedLaw):
            return advise_fully_connected(law, diagnosis.measurement, thresholds, prediction.log_input_length)
        if isinstance(law, ResidualLaw):
            return advise_residual(law, thresholds, prediction.log_input_length)
    advice, path = [], diagnosis.measurement
    if FM1 in diagnosis.measured.failure_modes:
        scales, path = advise_scales(nets, path, thresholds)
        advice.append(scales)
    if FM2 in path.verdict(thresholds).failure_modes:
        advice.append(advise_widths(path, thresholds))
    return advice
