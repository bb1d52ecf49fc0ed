"""What the pages of the documentation name exists: commands with their options, functions and classes, examples."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import neyman
from neyman.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in (ROOT / "docs").rglob("*") if path.suffix in (".md", ".rst") and "_build" not in path.parts
)
PAGES = [*PAGES, ROOT / "README.rst"]


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(page: Path) -> Iterator[list[str]]:
    """Return the words of every command in the code of a page and in its literals."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        lines = "".join(re.findall(r"```.*?\n(.*?)```", text, flags=re.DOTALL)).splitlines()
    else:
        lines = [line.strip() for line in text.splitlines() if line.startswith("   ")]
    for line in [*lines, *re.findall(r"`(neyman [^`\n]+)`", text)]:
        for part in re.split(r"\s(?:\||&&)\s", line.split("  #")[0].removeprefix("$ ")):
            words = part.replace("\\", "").strip()
            if words.startswith("neyman "):
                yield shlex.split(words.replace("'", '"') if words.count("'") % 2 else words)


def test_pages_are_found() -> None:
    assert len(PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_on_a_page_and_their_options_exist(page: Path) -> None:
    assert isinstance(main, click.Group)
    for words in commands(page):
        command, general = main, True
        for word in words[1:]:
            if general and not word.startswith("-"):
                assert word in main.commands, f"{' '.join(words)}: there is no command {word}"
                command, general = main.commands[word], False
            elif re.match(r"--?[a-zA-Z]", word):
                options = {"-h", "--help"}
                options |= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
                assert word.split("=")[0] in options, f"{' '.join(words)}: there is no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_names_on_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for dotted in set(re.findall(r"(?<![\w./\"'-])neyman((?:\.[A-Za-z_]\w*)+)\b(?!/)", text)) - {".json"}:
        found: object = neyman
        for name in dotted.split(".")[1:]:
            assert hasattr(found, name), f"neyman{dotted} does not exist"
            found = getattr(found, name)


def test_every_example_has_a_page_in_the_gallery() -> None:
    examples = {path.parent.name for path in (ROOT / "examples").glob("*/README.rst")}
    assert examples == {path.stem for path in (ROOT / "docs" / "gallery").glob("*.rst")}
