"""`python -m pipeline.catalog_schema FILE` writes the JSON Schema of the catalog, for editors."""

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.catalog import Catalog

ADDRESS = "https://raw.githubusercontent.com/gsc-stream/gsc-stream/main/docs/catalog.schema.json"


def catalog_schema() -> dict[str, Any]:
    """Return the schema: what pydantic derives from the models, except that a preset has the fields of a report."""
    schema = Catalog.model_json_schema()
    report = schema["$defs"]["Report"]
    report["anyOf"] = [{"required": report.pop("required")}, {"required": ["preset"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": ADDRESS, **schema}


def schema_text() -> str:
    """Return the content of the file."""
    return json.dumps(catalog_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(schema_text(), encoding="utf-8")
