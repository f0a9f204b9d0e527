"""Validates names of tenants and keys. They end up in files, logs and labels, so only plain characters are allowed."""

from __future__ import annotations

import re

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
RULE = "1 to 64 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends"
