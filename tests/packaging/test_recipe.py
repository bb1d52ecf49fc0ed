"""The recipe for conda-forge asks for what the package asks for."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CONDA = {"matplotlib": "matplotlib-base", "torch": "pytorch"}  # what conda-forge calls differently


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return YAML(typ="safe").load(ROOT / "packaging" / "recipe.yaml")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def versions(requirements: list[str]) -> dict[str, set[str]]:
    """Return what each requirement says of the version, by the name on conda-forge."""
    found = [Requirement(text.replace("${{ python_min }}", "3.11").removesuffix(".*")) for text in requirements]
    return {CONDA.get(one.name, one.name): {str(part) for part in one.specifier} for one in found}


def test_it_runs_with_what_the_package_depends_on(recipe: dict[str, Any], pyproject: dict[str, Any]) -> None:
    needed = versions(recipe["requirements"]["run"])
    assert needed.pop("python") == {pyproject["project"]["requires-python"]}
    assert needed == versions(pyproject["project"]["dependencies"])


def test_it_is_built_with_what_the_package_is_built_with(recipe: dict[str, Any], pyproject: dict[str, Any]) -> None:
    host = versions([text for text in recipe["requirements"]["host"] if not text.startswith(("python", "pip"))])
    assert host == versions(pyproject["build-system"]["requires"])


def test_its_command_is_the_package_s(recipe: dict[str, Any], pyproject: dict[str, Any]) -> None:
    scripts = pyproject["project"]["scripts"]
    assert recipe["build"]["python"]["entry_points"] == [f"{name} = {target}" for name, target in scripts.items()]
