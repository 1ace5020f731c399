"""Properties added to a catalog file, whose comments and layout stay as they are."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml.comments import CommentedSeq

from pipeline.catalog import CatalogError
from pipeline.catalog_file import parse_catalog, read_catalog

_ITEM = re.compile(r"( *)-(?:\s|$)")
_REMEDY = "cannot add to `properties`: write it as a list with one `- {url: ...}` per line"


def add_properties(path: Path, entries: Sequence[str]) -> None:
    """Write entries, each on its line, at the head of the list `properties` of a valid catalog.

    The file is replaced by one that is complete and valid, or stays as it is. Raises CatalogError or OSError.
    """
    if not entries:
        return
    path = path.resolve()
    lines = re.split(r"(?<=\n)", path.read_bytes().decode())
    place, indent = _head_of_list(path, lines)
    lines[place:place] = [f"{indent}- {entry}\n" for entry in entries]
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes("".join(lines).encode())
        shutil.copymode(path, new)
        _check_added(path, new, len(entries))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _head_of_list(path: Path, lines: Sequence[str]) -> tuple[int, str]:
    """Return the line at which the list begins, and the indentation of its items. Raises CatalogError."""
    root = parse_catalog(path)
    key = root.lc.key("properties")[0]
    items = root["properties"]
    if not isinstance(items, CommentedSeq) or items.fa.flow_style():
        raise CatalogError(f"{path}:{key + 1}: {_REMEDY}")
    for line in lines[key + 1 :]:
        if match := _ITEM.match(line):
            return key + 1, match[1]
    raise CatalogError(f"{path}:{key + 1}: {_REMEDY}")


def _check_added(path: Path, new: Path, count: int) -> None:
    """Raise CatalogError unless the new file has the old properties after `count` others, and all else unchanged."""
    before, after = read_catalog(path), read_catalog(new)
    if after.properties[count:] != before.properties or after.reports != before.reports:
        raise CatalogError(f"{path}: {_REMEDY}")
