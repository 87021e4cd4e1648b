"""Save figures as PNG and PDF files."""

from pathlib import Path

from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure to `path`.png and `path`.pdf, without a date or version, so that equal figures give equal files.

    Args:
        figure: The figure.
        path: Path of the files without suffix; missing folders are created.

    Returns:
        The two files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf")]
    figure.savefig(files[0], dpi=200, metadata={"Software": None})
    figure.savefig(files[1], metadata={"CreationDate": None})
    return files
