"""Hooks of mkdocs.yml: papers that lie beside the code are pages of the site, and links between all of them hold."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAPERS = ("CHANGELOG.md", "CONTRIBUTING.md", "MODEL_CARD.md", "SECURITY.md")
"""Of the root, which are pages, too."""
LINK = re.compile(r"(?P<text>!?\[[^\]]*\])\((?P<target>[^)#:\s]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the papers."""
    for name in PAPERS:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page with links that lead to pages of the site; what else lies in the repository is named."""
    home = "" if page.file.src_uri in PAPERS else "docs/"
    return LINK.sub(lambda link: _resolved(link, home), markdown)


def _resolved(link: re.Match[str], home: str) -> str:
    path = posixpath.normpath(home + link["target"])
    if path.startswith("docs/"):
        return f"{link['text']}({path.removeprefix('docs/')}{link['anchor'] or ''})"
    if path in PAPERS:
        return f"{link['text']}({path}{link['anchor'] or ''})"
    if not (ROOT / path).exists():
        return link[0]  # for mkdocs to complain of
    return f"{link['text'].strip('[]')} (`{path}`)"
