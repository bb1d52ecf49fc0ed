"""Check built pages: every internal link and picture leads somewhere, and the reference has every public name.

python docs/check_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import neyman


class Page(HTMLParser):
    """The places of a page and where its links lead."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Take note of what a tag is named and leads to."""
        for key, value in attributes:
            if key == "id" or (key == "name" and tag == "a"):
                self.places.add(value or "")
            elif key in ("href", "src") and tag != "link":
                self.links.add(value or "")


def broken_links(folder: Path) -> list[str]:
    """Return one line for each internal link that leads nowhere.

    Args:
        folder: the built pages.
    """
    pages = {path: Page(path) for path in sorted(folder.resolve().rglob("*.html"))}
    lines = []
    for path, page in pages.items():
        for link in sorted(page.links):
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            target = target / "index.html" if target.is_dir() else target
            place = unquote(address.fragment)
            missing_place = place and target in pages and place not in pages[target].places
            if not target.exists() or missing_place:
                lines.append(f"{path.relative_to(folder.resolve())}: {link} leads nowhere")
    return lines


def undocumented_names(folder: Path) -> list[str]:
    """Return one line for each public name that no page of the reference describes.

    Args:
        folder: the built pages.
    """
    places = {place for path in (folder / "reference").glob("*.html") for place in Page(path).places}
    names = (name for name in neyman.__all__ if not name.startswith("_"))
    return [
        f"reference: neyman.{name} is not described"
        for name in names
        if not {f"neyman.{name}", f"module-neyman.{name}"} & places
    ]


def main(folder: Path) -> int:
    """Print what is wrong, and return how much.

    Args:
        folder: the built pages.
    """
    if not (folder / "index.html").exists():
        sys.stderr.write(f"{folder}: no pages here; build them first\n")
        return 1
    lines = broken_links(folder) + undocumented_names(folder)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.write(f"{len(lines)} faults\n")
    return min(len(lines), 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/_build/html")))
