"""One range of one history becomes rows: metadata decides first, contents are read only of what is left."""

from __future__ import annotations
