# /// script
# requires-python = ">=3.11"
# dependencies = ["wandb-workspaces>=0.4.13"]
# ///
"""Save a W&B workspace that shows whether, and why not, nets train: uv run docs/wandb_workspace.py ENTITY [PROJECT].

Without arguments it prints the workspace as JSON, which needs no account and no network.
"""

import sys

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

PROJECT = "how-to-start-training"
STEP = "trainer/global_step"
CURVES = {  # sections, their panels, and the metrics of these
    "Does it train?": {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["val/accuracy"],
        "learning rate": ["learning_rate"],
    },
    "Activation lengths": {
        "growth rate (failure mode 1), nats per layer": ["growth_rate"],
        "variance over layers (failure mode 2)": ["layer_variance"],
        "first layer that is not finite (-1: none)": ["first_nonfinite_layer"],
    },
}
LENGTHS = "lengths/.*"  # a curve for each layer
HEAT_MAP = ["lengths_over_time", "lengths"]  # images, logged when a run ends
COLUMNS = ["config:net", "config:initialization", "config:data", "config:model.depth", "config:optimizer.lr"]
COLUMNS += ["summary:status", "summary:clues.verdict", "summary:start_of_training.epoch", "summary:test/accuracy"]


def workspace(entity: str, project: str) -> ws.Workspace:
    """Return the workspace; nothing is sent before `save`."""
    sections = [
        ws.Section(name=name, is_open=True, panels=[wr.LinePlot(title=t, x=STEP, y=ys) for t, ys in panels.items()])
        for name, panels in CURVES.items()
    ]
    sections[1].panels += [
        wr.LinePlot(title="mean length by layer", x=STEP, metric_regex=LENGTHS, log_y=True),
        wr.MediaBrowser(title="log length by layer and step", media_keys=HEAT_MAP, num_columns=1),
    ]
    runs = ws.RunsetSettings(pinned_columns=COLUMNS)
    return ws.Workspace(
        entity=entity, project=project, name="Does it train, and why not?", sections=sections, runset_settings=runs
    )


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(workspace("ENTITY", PROJECT)._to_model().model_dump_json(by_alias=True, indent=2))
    else:
        workspace(sys.argv[1], (*sys.argv[2:], PROJECT)[0]).save()
