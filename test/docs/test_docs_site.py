# SPDX-License-Identifier: Apache-2.0
"""The site builds without a warning, is complete, and asks nothing of the network."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from dataclasses import fields
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from site_pages import reference
from site_pages.reference import ROOT
from snippets import programs

from dd_ros.config import CheckpointConfig
from dd_ros.live.settings import PredictorParameters
from dd_ros.predictor import Predictor
from dd_ros.ros import diagnostics

needs_mkdocs = pytest.mark.skipif(
    not (find_spec("material") and find_spec("mkdocstrings_handlers")),
    reason="the extra 'docs' is not installed",
)


def test_each_command_and_option_is_on_the_page() -> None:
    page = reference.cli()
    for name, command in programs().items():
        assert f"## {name.removeprefix('python -m ')}\n" in page
        subcommands = command.commands.values() if isinstance(command, click.Group) else [command]
        for sub in subcommands:
            for option in (o for p in sub.params if isinstance(p, click.Option) for o in p.opts):
                assert option in page, f"{name} {option}"


def test_each_parameter_and_launch_argument_is_on_the_page() -> None:
    page = reference.parameters()
    assert reference.nodes()["predictor"] is PredictorParameters
    for name, kind in reference.nodes().items():
        part = page.partition(f"## Node {name}\n")[2]
        for item in fields(kind):
            assert f"| `{item.name}` |" in part
    for name in ("image_topic", "plan_topic", "params_file", "use_sim_time", "seconds"):
        assert f"| `{name}` |" in page


def test_each_field_of_messages_is_on_the_page() -> None:
    page = reference.interfaces()
    for file in [*ROOT.glob("dd_ros_msgs/msg/*.msg"), *ROOT.glob("dd_ros_msgs/srv/*.srv")]:
        part = page.partition(f"/{file.stem}\n")[2].partition("\n## ")[0]
        for line in file.read_text().splitlines():
            code = line.partition("#")[0].split()
            if len(code) == 2:
                row = next(
                    row for row in part.splitlines() if row.startswith(f"| `{code[1]}` | `{code[0]}` |")
                )
                assert code[1] == "header" or row.count("|") == 4
    request = page.partition("**Request.**")[2]
    assert "| `return_frames` | `bool` | Send the predicted frames back;" in request


def test_each_setting_is_on_the_page_with_its_meaning() -> None:
    page = reference.checkpoint()
    for name in CheckpointConfig.model_fields:
        row = next(row for row in page.splitlines() if row.startswith(f"| `{name}` |"))
        assert re.search(r"\| [^|]{4,} \|$", row), row
    assert "| `max_trained_step` | `16` |" in page
    assert "| `learning_rate` |" in reference.recipe()


def test_topics_and_diagnostics_are_on_the_page() -> None:
    page = (ROOT / "docs/reference/topics.md").read_text()
    source = "".join(file.read_text() for file in ROOT.glob("dd_ros/ros/*.py"))
    for name in re.findall(r'"(~/\w+|/diagnostics)"', source):
        assert f"`{name}`" in page, name
    for key in (*diagnostics.COUNTS, diagnostics.STEPS_SKIPPED):
        assert f"`{key}`" in page, key


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


class Fetched(HTMLParser):
    """Addresses that a browser fetches by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        passive = {"a", "meta"} | (
            {"link"} if given.get("rel") in ("canonical", "prev", "next", "alternate") else set()
        )
        if tag not in passive:
            self.addresses += [value for key in ("src", "href", "data") if (value := given.get(key))]


@needs_mkdocs
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        found = Fetched()
        found.feed(page.read_text())
        assert found.addresses
        for address in found.addresses:
            assert not re.match(r"(https?:)?//", address), f"{page}: {address}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text()), sheet


@needs_mkdocs
def test_the_python_api_is_complete(site: Path) -> None:
    page = (site / "reference/python.html").read_text()
    public = [
        name for name, item in inspect.getmembers(Predictor) if not name.startswith("_") and item.__doc__
    ]
    for name in public:
        assert f'id="dd_ros.predictor.Predictor.{name}"' in page, name


@needs_mkdocs
def test_search_works_without_a_server(site: Path) -> None:
    assert "var __index" in (site / "search/search_index.js").read_text()


@needs_mkdocs
def test_the_first_picture_is_small(site: Path) -> None:
    assert 0 < (site / "images/prediction.webp").stat().st_size < 1_000_000


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    for link in links:
        assert (ROOT / link).exists(), link
