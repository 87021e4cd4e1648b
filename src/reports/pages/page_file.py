"""Write a page: templates, plotly and all data in one HTML file, which asks nothing of any server."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from plotly import io
from plotly.offline import get_plotlyjs

from start_training.files.replaced_file import replaced
from start_training.reports.pages.plots import COLOURS

HERE = Path(__file__).parent
CLEAR = "rgba(0,0,0,0)"
# Nothing but what is in the file: no other script, no address, no plug-in.
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {hashes}; base-uri 'none'"


@cache
def _environment() -> jinja2.Environment:
    """Return an environment that escapes whatever a template inserts, since names and configs may be a stranger's."""
    loader = jinja2.FileSystemLoader(HERE)
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True}
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, **options)


def rendered(template: str, **values: Any) -> str:
    """Return a template of this folder with these values; all text in them is escaped."""
    return _environment().get_template(template).render(**values)


def packed(data: Mapping[str, Any]) -> str:
    """Return plain data as compressed JSON in base64, which the page unpacks when it is looked at.

    Example:
        >>> json.loads(gzip.decompress(base64.b64decode(packed({"</script>": 1}))))
        {'</script>': 1}
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def write_page(path: Path, template: str, *, data: Mapping[str, str], **values: Any) -> None:
    """Write an HTML file, which replaces an earlier one when it is complete.

    Args:
        path: The file.
        template: Name of the template, which extends `page.html`.
        data: Packed data by the id under which the page's script finds them.
        values: What the template shows.
    """
    scripts = [get_plotlyjs(), (HERE / "page.js").read_text()]
    assert not any("</script" in script.lower() for script in scripts)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    text = rendered(
        template,
        **values,
        data={**data, "themes": packed(_themes())},
        scripts=scripts,
        style=(HERE / "page.css").read_text(),
        policy=POLICY.format(hashes=" ".join(f"'sha256-{digest}'" for digest in digests)),
        written=datetime.now().astimezone().isoformat(" ", "seconds"),
    )
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")


def _themes() -> dict[str, Any]:
    """Return plotly's templates for a light and a dark page, on the page's own background."""
    themes = {}
    for name, colour, panel in (("light", "#1d2430", "#f5f7fa"), ("dark", "#e3e7ee", "#1d232d")):
        layout = io.templates[f"plotly_{'white' if name == 'light' else 'dark'}"].to_plotly_json()["layout"]
        font = {"color": colour, "size": 12, "family": "system-ui, sans-serif"}
        own = {"paper_bgcolor": CLEAR, "plot_bgcolor": CLEAR, "font": font, "colorway": list(COLOURS)}
        own |= {"modebar": {"bgcolor": panel, "color": colour}}
        themes[name] = {"layout": {**layout, **own}}
    return themes
