"""The page of a sweep: its table, curves and figure, and the section of each job, unpacked when it is chosen."""

import base64
import os
from collections.abc import Collection
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from start_training.analysis.step_columns import COLUMNS
from start_training.config.build import build_partial
from start_training.files.damaged_file import DamagedFile
from start_training.reports.pages.page_file import packed, rendered, write_page
from start_training.reports.pages.plots import COLOURS
from start_training.reports.pages.run_section import Detail, run_section
from start_training.reports.pages.study_section import StudySection
from start_training.reports.pages.sweep_overview import SweepOverview, job_texts, share
from start_training.reports.sweep_figure import table_of
from start_training.runs.directory import FINISHED, RunDirectory

CELLS = 1_800_000  # numbers in all heat maps, with which the page stays below 15 MB
DEPTH = 100  # of nets whose depth is not known
DECIMALS = 2  # of log lengths in nats, where not all steps fit
DRAWN_IN = {"png": 110}  # format of the sweep's figure, and its dots per inch
Kept = dict[tuple[str, int], tuple[int, str]]  # what a page holds of a finished job, by its directory and columns


@dataclass(frozen=True)
class SweepFigure:
    """The figure of the sweep's experiment, as the address of an image, or why there is none."""

    image: str = ""
    problem: str = ""


def write_sweep_page(
    directory: Path, path: Path, *, trust: Collection[str] = (), kept: Kept, study: StudySection | None = None
) -> None:
    """Write the page of a sweep.

    Args:
        directory: Directory of the sweep.
        path: The HTML file.
        trust: Packages of the user that the configs of the runs may name.
        study: The study that these jobs belong to, which is shown above them.
        kept: Sections of finished jobs from an earlier call, which are used again, and to which new ones are added.

    Raises:
        ValueError: the directory holds no runs, or the config of one names what must not be imported.
    """
    overview = SweepOverview(directory, trust=trust)
    depths = overview.runs["depth"].dropna() if "depth" in overview.runs else ()
    columns = share(CELLS, len(overview.runs) * (1 + int(max(depths, default=DEPTH))))
    detail = Detail() if columns == COLUMNS else Detail(columns, DECIMALS)
    curves, rows, means = overview.curves(), overview.jobs(), overview.means()
    data = {"sweep": packed({
        "jobs": job_texts(rows), "curves": curves, "choices": overview.choices, "colours": COLOURS,
        "means": [row["texts"] for row in means],
    })}  # fmt: skip
    for number, row in enumerate(rows):
        data[f"job-{number}"] = _section(directory / row["directory"], path.parent, detail, trust, kept)
    counts = overview.runs["status"].value_counts()
    write_page(
        path,
        "sweep_page.html",
        data=data,
        heading="Study" if study else "Sweep",
        study=study,
        name=directory.resolve().parent.name if study else directory.resolve().name,
        directory=str(directory),
        counts=", ".join(f"{count} {status}" for status, count in counts.items()),
        overview=overview,
        rows=rows,
        means=means,
        quantities=list(curves),
        detail=detail,
        figure=sweep_figure(directory, overview, trust),
    )


def _section(directory: Path, folder: Path, detail: Detail, trust: Collection[str], kept: Kept) -> str:
    summary = RunDirectory(directory).summary_file
    stamp = summary.stat().st_mtime_ns if os.path.exists(summary) else None
    key = (str(directory), detail.columns)
    if stamp is not None and (known := kept.get(key)) and known[0] == stamp:
        return known[1]
    run = run_section(directory, folder, detail=detail, trust=trust)
    section = packed({"html": rendered("run.html", run=run), "plots": run.plots, "linked": run.linked})
    if stamp is not None and run.state in FINISHED:
        kept[key] = (stamp, section)
    return section


def sweep_figure(directory: Path, overview: SweepOverview, trust: Collection[str]) -> SweepFigure:
    """Draw the figure that the config of the sweep's jobs names, as far as they have come."""
    node: dict[str, Any] | None = None
    for name in overview.runs["directory"]:
        run = RunDirectory(directory / name)
        try:
            node = run.config(trust=trust).get("figure") if run.config_file.exists() else None
        except DamagedFile:
            continue
        if node:
            break
    if not node:
        return SweepFigure()
    try:
        drawn = build_partial(node, "figure")(table_of(node)(directory, node, (), trust).drawn)
    except ValueError as error:  # as while no job has recorded what the figure draws
        return SweepFigure(problem=str(error))
    (kind, dots), image = next(iter(DRAWN_IN.items())), BytesIO()
    drawn.savefig(image, format=kind, dpi=dots, bbox_inches="tight")
    return SweepFigure(f"data:image/{kind};base64,{base64.b64encode(image.getvalue()).decode()}")
