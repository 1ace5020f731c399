"""`python -m pipeline.contracts FOLDER` writes the JSON Schema of every message, for readers in other languages.

The schemas of a release are in `pipeline/contracts/schemas`. Write them again after a change to `messages.py`.
"""

import json
import sys
from pathlib import Path

from pipeline.contracts.codec import schema
from pipeline.contracts.messages import Batch, Control, Message, PageOutcome, Rows, SyncRequest, Unchanged

MESSAGES: dict[str, type[Message]] = {
    "sync": SyncRequest,
    "batch": Batch,
    "rows": Rows,
    "unchanged": Unchanged,
    "outcome": PageOutcome,
    "control": Control,
}
"""Message classes by their tag, which is the name of the schema's file."""


def write_schemas(folder: Path) -> None:
    """Write one file for each message."""
    for name, message in MESSAGES.items():
        (folder / f"{name}.json").write_text(json.dumps(schema(message), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
