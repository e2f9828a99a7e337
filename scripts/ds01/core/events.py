"""stub."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Event:
    timestamp: datetime
    event_type: str
    user: str | None
    source: str
    details: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class EventLog:
    path: Path

    def append(self, event: Event) -> bool:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        os.write(
            fd,
            (
                json.dumps(
                    {
                        "t": str(event.timestamp),
                        "event_type": event.event_type,
                        "user": event.user,
                        "details": dict(event.details),
                    }
                )
                + "\n"
            ).encode(),
        )
        os.close(fd)
        return True
