"""What a page says of a diagnosis: the verdict in words, its findings and trials as tables, the signal as a figure."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from start_training.reports.pages.plots import COLOURS, Plot, Trace, lines, numbers, plain, stacked

NAMES = {"sgd": "SGD", "adam": "Adam"}
ORDER = ("yes", "not told", "not judged", "no")  # of answers; yes is bad
# Columns of each panel of the figure, and whether its axis is logarithmic.
PANELS = {
    "length": (("length",), True),
    "gradient<br>(squared)": (("gradient",), True),
    "1 − cosine": (("samples", "tokens"), True),
    "share": (("branch", "silent"), False),
}
TEXTS = {
    "length": "length",
    "gradient": "squared gradient",
    "samples": "between samples",
    "tokens": "between tokens",
    "branch": "added by a block",
    "silent": "silent units",
}


def diagnosis_sentences(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield whether training starts and why, the defects, and what was judged.

    Args:
        content: As `Diagnosis.to_dict` returns it; entries that are absent, as in older files, are left out.
    """
    if content.get("not_judged"):
        yield f"not judged: {content['not_judged']}"
    for family, start in _mapping(content.get("starts")).items():
        start = _mapping(start)
        yield f"training starts with {NAMES.get(family, family)}: {start.get('answer')} ({start.get('reason')})"
    if "defects" in content:
        yield f"defects: {', '.join(map(str, content['defects'])) or 'none'}"
    yield f"failure modes: {', '.join(map(str, content['failure_modes'])) or 'none'}"
    yield f"judged by {content.get('by')}; nets: {content.get('nets')}; {_text_of(content, 'loss')}"


def diagnosis_tables(content: Mapping[str, Any]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name and rows of each table: findings, the bad ones first, and trials."""
    findings = [one for one in content.get("findings") or [] if isinstance(one, Mapping)]
    findings.sort(key=lambda one: ORDER.index(one["answer"]) if one.get("answer") in ORDER else len(ORDER))
    columns = {"finding": "name", "answer": "answer", "what": "text", "where": "place", "number": "value"}
    columns |= {"limit": "limit", "what to do": "todo"}
    if findings:
        rows = [{title: _cell(one.get(key)) for title, key in columns.items()} for one in findings]
        yield "Findings", pd.DataFrame(rows, dtype=object)
    trials = [one for one in content.get("trials") or [] if isinstance(one, Mapping)]
    if trials:
        yield "Short trainings", pd.DataFrame([_trial(one) for one in trials], dtype=object)


def signal_plot(signal: Mapping[str, Any]) -> Plot:
    """Draw length, gradient, distances and branch share against the layers; layers of one path are joined.

    Args:
        signal: Columns of `Diagnosis.to_frame` as lists; None where a number is not finite.
    """
    names = [plain(name) for name in signal["name"]]
    paths = np.array(signal.get("path") or [0] * len(names))
    panels: dict[str, list[Trace]] = {}
    layout: dict[str, dict[str, Any]] = {}
    for title, (columns, logarithmic) in PANELS.items():
        panels[title] = []
        for column, colour in zip(columns, COLOURS, strict=False):
            values = np.array([np.nan if value is None else value for value in signal.get(column) or []], float)
            if len(values) != len(names):
                continue
            values[~np.isfinite(values) | (logarithmic & (values <= 0))] = np.nan
            hover = f"layer %{{x}}: %{{customdata}}<br>{TEXTS[column]} %{{y:.4g}}"
            for number in sorted({*paths.tolist()}):
                chosen = (paths == number) & np.isfinite(values)
                if not chosen.any():
                    continue
                place = np.flatnonzero(chosen)
                mode = "markers" if number < 0 else "lines+markers"
                marks: dict[str, Any] = {"customdata": [names[at] for at in place], "mode": mode, "name": TEXTS[column]}
                marks |= {"marker": {"size": 5}, "legendgroup": column, "showlegend": len(columns) > 1 and number == 0}
                panels[title].append(lines(place.tolist(), numbers(values[chosen]), colour, hover, **marks))
        layout[title.replace(" ", "_")] = {"type": "log", "exponentformat": "power"} if logarithmic else {}
    return stacked(panels, {"title": {"text": "layer"}}, **layout)


def _trial(trial: Mapping[str, Any]) -> dict[str, Any]:
    losses, steps = trial.get("losses") or [], trial.get("steps") or []
    return {
        "optimizer": trial.get("optimizer"),
        "steps": steps[-1] if steps else None,
        "loss at first": losses[0] if losses else None,
        "loss at the end": losses[-1] if losses else None,
        "chance": trial.get("chance"),
        "carries over (σ)": trial.get("carries_over"),
    }


def _cell(value: Any) -> Any:
    return None if value == "" else value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text_of(content: Mapping[str, Any], name: str) -> str:
    return f"{name}: {content[name]}" if content.get(name) else f"{name} not recorded"
