# SPDX-License-Identifier: Apache-2.0
"""mkdocs: adds the pages that are made from the code, and files of the repository that pages link to."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from site_pages import messages, reference  # noqa: E402

GENERATED = {
    "reference/cli.md": reference.cli,
    "reference/parameters.md": reference.parameters,
    "reference/messages.md": reference.interfaces,
    "reference/checkpoint.md": reference.checkpoint,
    "reference/recipe.md": reference.recipe,
    "troubleshooting/all.md": messages.index,
}
# Pages that lie elsewhere in the repository.
ELSEWHERE = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    **{f"checkpoints/{card.parent.name}.md": f"checkpoints/{card.parent.name}/README.md" for card in ROOT.glob("checkpoints/*/README.md")},
}  # fmt: skip
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the files that pages link to."""
    for uri, make in GENERATED.items():
        if stub := files.get_file_from_path(uri):  # what stands there where nobody builds the site
            files.remove(stub)
        files.append(File.generated(config, uri, content=make()))
    for uri, path in ELSEWHERE.items():
        files.append(File.generated(config, uri, content=(ROOT / path).read_text()))
    for file in list(files.documentation_pages()):
        for _, target, _ in LINK.findall(file.content_string):
            path = place(file.src_uri, target)
            uri = uri_of(path)
            if uri.startswith("files/") and uri not in files.src_uris and (ROOT / path).is_file():
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to places in the repository become links within the site."""

    def changed(found: re.Match[str]) -> str:
        start, target, end = found.groups()
        uri = uri_of(place(page.file.src_uri, target))
        return f"{start}{os.path.relpath(uri, os.path.dirname(page.file.src_uri) or '.')}{end}"

    return LINK.sub(changed, markdown)


def place(src_uri: str, target: str) -> str:
    """Path in the repository that a page's link means."""
    here = ELSEWHERE.get(src_uri, f"docs/{src_uri}")
    return os.path.normpath(os.path.join(os.path.dirname(here), target))


def uri_of(path: str) -> str:
    """Where a file of the repository lies in the site."""
    pages = {there: uri for uri, there in ELSEWHERE.items()} | {"README.md": "index.md"}
    if path in pages:
        return pages[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"
