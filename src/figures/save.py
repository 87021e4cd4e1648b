"""Save figures as PNG and PDF files."""

from pathlib import Path

from matplotlib.figure import Figure

from start_training.files.replaced_file import replaced

DPI = 200  # of the PNG file


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure to `path`.png and `path`.pdf, without a date or version, so that equal figures give equal files.

    Args:
        figure: The figure. Its layout is fixed from then on.
        path: Path of the files without suffix; missing folders are created.

    Returns:
        The two files.
    """
    _fix_layout(figure)
    files = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf")]
    with replaced(files[0]) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    with replaced(files[1]) as partial:
        figure.savefig(partial, format="pdf", metadata={"CreationDate": None})
    return files


def _fix_layout(figure: Figure) -> None:
    """Place the panels once, where they are in the PNG file; each file would else compute that, and be drawn twice."""
    engine = figure.get_layout_engine()
    if engine is not None:
        dpi, figure.dpi = figure.dpi, DPI
        engine.execute(figure)
        figure.dpi = dpi
        figure.set_layout_engine(None)
