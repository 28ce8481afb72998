"""HTML pages: one base template, Markdown parts, pictures inlined, so that a page is one file that can be mailed."""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2
import markdown

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: object) -> str:
    """A page of analysis/templates; what is missing in `values` is an error, text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inlined"] = inlined
    return environment.get_template(template).render(**values)


def inlined(picture: Path) -> str:
    """A PNG as a data: address."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def html(source: str) -> str:
    """Markdown as HTML; wide tables scroll inside their own box, headings can be linked to."""
    body = markdown.markdown(source, extensions=["tables", "toc"])
    return body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
