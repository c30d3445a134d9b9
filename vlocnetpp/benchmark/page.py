"""A Markdown report as one self-contained HTML file, with pictures and style embedded."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from vlocnetpp.reporting.files import write_text

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; margin: 1em 0; }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid #888; white-space: normal; vertical-align: bottom; }
th:last-child:not(:first-child) { font-weight: normal; }
tr.greyed td { color: #888; background: #f5f5f5; }
tbody tr:hover td { background: #f0f6fb; }
img { max-width: 100%; }
code { background: #f3f3f3; padding: 0 0.2em; }
@media print { body { max-width: none; font-size: 10pt; } table { font-size: 8pt; } }
"""
PICTURE = re.compile(r'src="([^"]+\.png)"')
GREYED = re.compile(r"<tr>(\s*<td[^>]*><em>)")
"""A table row whose first cell is in italics: it uses the ground truth."""


def write_page(path: Path, title: str, markdown_text: str) -> None:
    """Write the Markdown as HTML; pictures are read relative to the folder of `path`. Raises DataError."""
    import markdown

    body = markdown.markdown(markdown_text, extensions=["tables"], output_format="html")
    body = GREYED.sub(r'<tr class="greyed">\1', body)
    body = PICTURE.sub(lambda found: f'src="{_embedded(path.parent / found.group(1))}"', body)
    write_text(
        path,
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n'
        "</body>\n</html>\n",
    )


def _embedded(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")
