"""Prints the pure modules, whose docstring says so, as a list for `coverage report --include`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "producer", "fetcher", "sink", "maintenance", "lab")


def pure_modules() -> list[Path]:
    """Return the modules whose docstring has the sentence "Pure.", and those of pipeline.contracts."""
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return [file.relative_to(ROOT) for file in files if _is_pure(file)]


def _is_pure(file: Path) -> bool:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return "Pure." in docstring or file.parent.name == "contracts"


if __name__ == "__main__":
    print(",".join(map(str, pure_modules())))
