"""The Markdown of a study's report as HTML: words and tables, without markup, links or images of its own."""

from markdown_it import MarkdownIt

BELOW = 3  # levels of headings on the page above those of a report
LOADS = ("link", "image", "autolink", "reference")  # rules of Markdown for what a stranger's text must not do


def html_of(text: str) -> str:
    """Return Markdown as HTML in which all markup that the text itself contains is escaped.

    Example:
        >>> print(html_of("# A & B\\n\\n*one* <img src=x> [two](http://x)"))
        <h4>A &amp; B</h4>
        <p><em>one</em> &lt;img src=x&gt; [two](http://x)</p>
        <BLANKLINE>
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(list(LOADS))
    tokens = parser.parse(text)
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = f"h{min(6, int(token.tag[1:]) + BELOW)}"
    return str(parser.renderer.render(tokens, parser.options, {}))
