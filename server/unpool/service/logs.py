"""Structured logs: one event a line, its fields beside it, as key=value or as JSON."""

from __future__ import annotations

import enum
import json
import logging
import sys
from datetime import UTC, datetime

# What every record has; anything else was given as a field.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class LogFormat(enum.Enum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class Formatter(logging.Formatter):
    """Writes the event, its fields, and a stack where there is one.

    Args:
        form: text (``time level event key=value ...``) or JSON (one object a line).
    """

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        stack = self.formatException(record.exc_info) if record.exc_info else ""
        if self._form is LogFormat.JSON:
            line = {
                "time": time,
                "level": record.levelname,
                "logger": record.name,
                "event": record.getMessage(),
                **fields,
            }
            return json.dumps(line | ({"stack": stack} if stack else {}), default=str)
        words = " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())
        return f"{time} {record.levelname:7} {record.getMessage()} {words}".rstrip() + (f"\n{stack}" if stack else "")


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & {" ", '"', "="} else json.dumps(text)


def configure(form: LogFormat, level: int = logging.INFO) -> None:
    """Sends logs to standard error: this program's from ``level`` on, those of its libraries from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(form))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("unpool").setLevel(level)
    # It warns of every odd node of a file, in the file's own words; what matters of that is raised.
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
