#!/usr/bin/env -S uv run --script
"""Nox sessions: ``nox -s tests``, ``nox -s lint``, ``nox -s types``, ``nox -s docs``, ``nox -s build``."""

# /// script
# dependencies = ["nox>=2025.2.9"]
# ///

from __future__ import annotations

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"

CONSTRAINED = ("-c", "constraints.txt")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run the tests and the doctests."""
    session.install(*CONSTRAINED, ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Run every pre-commit hook on every file."""
    session.install("pre-commit")
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types."""
    session.install(*CONSTRAINED, ".[dev]")
    session.run("mypy", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the pages of the documentation and check their links."""
    session.install(*CONSTRAINED, ".[docs]")
    session.run("python", "-m", "sphinx", "-W", "-n", "--keep-going", "docs", "docs/_build/html", *session.posargs)
    session.run("python", "docs/check_links.py", "docs/_build/html")


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the source distribution and the wheel."""
    session.install("build")
    session.run("python", "-m", "build")


if __name__ == "__main__":
    nox.main()
