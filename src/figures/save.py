"""A figure as files: PNG to look at, PDF for a paper."""

from pathlib import Path

from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write `path`.png and `path`.pdf, the same bytes for the same figure; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf")]
    figure.savefig(files[0], dpi=200, metadata={"Software": None})
    figure.savefig(files[1], metadata={"CreationDate": None})
    return files
