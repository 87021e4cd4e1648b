"""All judges of the zoo by name: `diagnose`, and peers through their public functions with default settings."""

from functools import partial
from importlib import import_module

import torch
from torch import Tensor

from start_training import diagnose
from tests.zoo.net import ZooNet
from tests.zoo.peers import checklist
from tests.zoo.peers.answers import SEED, Answer, Judge, batch, first_line, module_for, quiet

RATE = 1e-3  # of the Adam that takes one step


def ours(net: ZooNet) -> Answer:
    """`diagnose` of this project; uncertain and not judged count as refusals.

    Raises:
        RuntimeError: the net is not judged, or the answer is uncertain.
    """
    inputs, targets = batch(net)
    diagnosis = diagnose(net.make(SEED), inputs, targets=targets, loss=net.task.loss, seed=SEED)
    answers = {start.answer for start in diagnosis.starts.values()}
    if diagnosis.verdict not in ("HEALTHY", "UNHEALTHY"):
        raise RuntimeError(diagnosis.verdict)
    findings = tuple(f"{finding.defect}: {finding.text}" for finding in diagnosis.defects)
    return Answer(diagnosis.healthy, "yes" in answers, findings)


def anyinit(net: ZooNet, mode: str) -> Answer:
    """`assert_healthy` of the report of `anyinit.initialize`; it redraws the weights before it looks at the net."""
    report = import_module("anyinit").initialize(net.make(SEED), mode, batch(net)[0], seed=SEED)
    try:
        report.assert_healthy()
    except AssertionError as error:
        problems = first_line(error).removeprefix("AnyInit report is not healthy: ")
        return Answer(False, findings=tuple(problems.split("; ")))
    return Answer(True)


def torchdiag(net: ZooNet) -> Answer:
    """All checks of `torchdiag` around one step of Adam; healthy: none of them prints an issue.

    Raises:
        RuntimeError: the step failed, and no check before it had found an issue.
    """
    peer, module, (inputs, targets) = import_module("torchdiag"), module_for(net), batch(net)
    optimizer = torch.optim.Adam(module.parameters(), RATE)
    with quiet() as printed:
        peer.summary(module)
        peer.check_dead_neurons(module, inputs)
        results = peer.verify_step(module, optimizer, net.task.loss, inputs, targets)
        failed = [value for value in results.values() if str(value).startswith("FAILED")]
        if not failed:
            peer.check_gradients(module)
    issues = [line.strip(" •") for line in printed.getvalue().splitlines() if line.startswith("  • ")]
    if failed and not issues:
        raise RuntimeError(first_line(failed[0]))
    return Answer(not issues, findings=tuple(map(first_line, issues)))


def torch_audit(net: ZooNet, level: str, category: str | None = None) -> Answer:
    """`audit_dynamic` around one step of Adam; healthy: exit status 0, no finding of this severity or above.

    Args:
        net: to be judged.
        level: `ERROR` or `WARN`.
        category: of the rules that are applied; None: all, also those about speed and weight decay.
    """
    peer, module, (inputs, targets) = import_module("torch_audit"), module_for(net), batch(net)
    import_module("torch_audit.loader").load_runtime_validators()  # which registers the rules
    rules = import_module("torch_audit.registry").RuleRegistry.all_rules()
    chosen = {rule.id for rule in rules if rule.category == category} if category else None
    optimizer = torch.optim.Adam(module.parameters(), RATE)
    with peer.audit_dynamic(module, optimizer=optimizer, fail_level=level, select_rules=chosen) as auditor:
        loss: Tensor = net.task.loss(auditor.forward(inputs), targets)
        auditor.backward(loss)
        auditor.optimizer_step()
    result = auditor.finish(report=False)
    severe = [finding for finding in result.findings if finding.severity >= type(finding.severity)(level)]
    return Answer(result.exit_code == 0, findings=tuple(f"{one.rule_id}: {first_line(one.message)}" for one in severe))


OURS = "diagnose"
JUDGES: dict[str, Judge] = {
    OURS: Judge(ours, "how-to-start-training", "start_training"),
    "anyinit analytic": Judge(partial(anyinit, mode="analytic"), "anyinit", "anyinit"),
    "anyinit empirical": Judge(partial(anyinit, mode="empirical"), "anyinit", "anyinit"),
    "neural-net-checklist": Judge(checklist.ask, "neural-net-checklist", "neural_net_checklist"),
    "torchdiag": Judge(torchdiag, "torchdiag", "torchdiag"),
    "torch-audit": Judge(partial(torch_audit, level="ERROR"), "torch-audit", "torch_audit"),
    "torch-audit stability": Judge(
        partial(torch_audit, level="WARN", category="Stability"), "torch-audit", "torch_audit"
    ),
}
