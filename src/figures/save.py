"""Save figures as PNG and PDF files."""

from pathlib import Path

from matplotlib.figure import Figure

from start_training.files.replaced_file import replaced


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure to `path`.png and `path`.pdf, without a date or version, so that equal figures give equal files.

    Args:
        figure: The figure.
        path: Path of the files without suffix; missing folders are created.

    Returns:
        The two files.
    """
    files = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf")]
    with replaced(files[0]) as partial:
        figure.savefig(partial, format="png", dpi=200, metadata={"Software": None})
    with replaced(files[1]) as partial:
        figure.savefig(partial, format="pdf", metadata={"CreationDate": None})
    return files
