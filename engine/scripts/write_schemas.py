"""Writes the JSON Schemas that editors and `make check` use: `.venv/bin/python engine/scripts/write_schemas.py
[FOLDER]`.

The models in engine/src/sluice are the source; a contract test compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic.json_schema import GenerateJsonSchema

from sluice.core.extras import hooks
from sluice.core.settings import Settings
from sluice.prompts import Prompt

FOLDER = Path(__file__).resolve().parent.parent / "schemas"
SCHEMAS: dict[str, type[Settings]] = {"prompt.schema.json": Prompt}
for more in hooks("schemas").values():
    SCHEMAS |= more()


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes of the names: an editor shows them above the description."""

    def field_title_should_be_set(self, schema: object) -> bool:
        del schema
        return False


def main(folder: Path) -> None:
    for name, model in SCHEMAS.items():
        described = model.model_json_schema(by_alias=True, schema_generator=_Untitled)
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}
        (folder / name).write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
