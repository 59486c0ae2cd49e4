"""Great Expectations' pages, made readable where there is no network.

The pages take their styles, and the index its very rows, from servers elsewhere. `readable_offline` gives each page a
small style sheet of its own, loaded before the others so that they still win where they can be reached, and writes
the links to all results into the index. Called by `sam3-agent validate`; try it: open reports/data_docs/index.html.
"""

from __future__ import annotations

import html
import os
from pathlib import Path

STYLE_FILE = Path("static/styles/offline.css")
STYLE = """\
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; } h4, h5, h6 { font-size: 1rem; margin: 1.2em 0 0.4em; }
table { border-collapse: collapse; } td, th { padding: 0.25rem 0.75rem 0.25rem 0; text-align: left; vertical-align: top; }
tr + tr td { border-top: 1px solid #8884; } pre, code { white-space: pre-wrap; }
.results { border: 1px solid #8886; border-radius: 8px; padding: 1rem 1.5rem; margin-bottom: 1.5rem; }
.results li { margin: 0.3rem 0; }
a[href*="greatexpectations.io"] img, .navbar-brand, footer { display: none; }
.collapse { display: block; }
"""


def readable_offline(docs: Path) -> None:
    """Add the style sheet to every page below `docs`, and plain links to its index.

    Raises:
        OSError: the folder cannot be written.
    """
    (docs / STYLE_FILE).parent.mkdir(parents=True, exist_ok=True)
    (docs / STYLE_FILE).write_text(STYLE)
    for page in sorted(docs.rglob("*.html")):
        style = Path(os.path.relpath(docs / STYLE_FILE, page.parent)).as_posix()
        text = page.read_text().replace("<head>", f'<head>\n<link rel="stylesheet" href="{style}">', 1)
        if page == docs / "index.html":
            text = text.replace("<body>", f"<body>\n{_links(docs)}", 1)
        page.write_text(text)


def _links(docs: Path) -> str:
    rows = [_row(docs, page) for page in sorted((docs / "validations").rglob("*.html"))]
    suites = [
        _link(docs, page, f"what is expected of {page.stem}")
        for page in sorted((docs / "expectations").rglob("*.html"))
    ]
    listed = "\n".join(f"<li>{row}</li>" for row in rows + suites)
    return f'<section class="results"><h1>Is the data as it should be?</h1>\n<ul>\n{listed}\n</ul></section>'


def _row(docs: Path, page: Path) -> str:
    suite = page.relative_to(docs / "validations").parts[0]
    verdict = "as expected" if "</i> Succeeded" in page.read_text() else "NOT as expected"
    return f"{_link(docs, page, suite)}: {verdict}"


def _link(docs: Path, page: Path, words: str) -> str:
    return f'<a href="{html.escape(page.relative_to(docs).as_posix())}">{html.escape(words)}</a>'
