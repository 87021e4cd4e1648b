"""Extension of griffe, which reads docstrings for the site: `Example:` is a section of examples, as `Examples:` is."""

import re
from typing import Any

import griffe


class DocstringExamples(griffe.Extension):
    """Renames the section, since griffe would take the prompts of `Example:` for nested quotations."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
