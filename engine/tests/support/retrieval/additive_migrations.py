"""Whether a migration is purely additive, by its SQL.

The live release keeps using the store during and after a migration, so no object that it uses may change or disappear.
Only the statements listed here are allowed; all others are refused (engine/docs/decisions/alembic.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_NAME = r'(?:"[^"]+"|\w+)(?:\.(?:"[^"]+"|\w+))?'
# A constant, or a time that is the same for all rows: PostgreSQL then does not write the table anew.
_DEFAULT = r"DEFAULT (?:'[^']*'(?:::[\w ]+)?|-?\d+(?:\.\d+)?|true|false|NULL|now\(\)|CURRENT_TIMESTAMP)"
_TYPE = (
    r"(?:text|boolean|smallint|integer|bigint|real|double precision|date|uuid|jsonb?|bytea|timestamptz|vector"
    r"|numeric|varchar|character varying|timestamp(?: with(?:out)? time zone)?)(?:\(\d+(?:, ?\d+)?\))?(?:\[\])?"
)
_ADDS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"CREATE EXTENSION IF NOT EXISTS {_NAME}",
        # A reference would lock the other table, and forbid what is deleted there.
        rf"(?!.*\b(?:REFERENCES|INHERITS)\b)(?!.*\) AS\b)CREATE TABLE (?:IF NOT EXISTS )?{_NAME} ?\(.*\)",
        # Not a unique one: what the live release writes could break it.
        rf"CREATE INDEX (?:IF NOT EXISTS )?{_NAME} ON {_NAME} .*",
        rf"ALTER TABLE {_NAME} ADD COLUMN (?:IF NOT EXISTS )?{_NAME} {_TYPE}(?: NULL| {_DEFAULT}(?: NOT NULL)?)?",
        r"COMMENT ON (?:TABLE|COLUMN|INDEX) \S+ IS .*",
    )
)


def not_expanding(upgrade: Callable[[], Any]) -> list[str]:
    """The statements of `upgrade` that do more than add, each in one line; or why they cannot be read."""
    try:
        told = statements(upgrade)
    except Exception as error:  # it is somebody's code
        return [f"cannot be read without a database: {error}"]
    return [one for one in told if ";" in one or not any(rule.fullmatch(one) for rule in _ADDS)]


def statements(upgrade: Callable[[], Any]) -> list[str]:
    """The SQL of a migration, without a database."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    written = _StatementRecorder()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written, "literal_binds": True}
    )
    with Operations.context(context):
        upgrade()
    return [" ".join(one.split()).removesuffix(";").strip() for one in written.pieces if one.strip()]


class _StatementRecorder:
    """alembic writes one statement at a time."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def write(self, text: str) -> None:
        self.pieces.append(text)

    def flush(self) -> None:
        """There is nothing between us and what is written."""
