import json
import logging
import sys

from unpool.service.logs import Formatter, LogFormat


def record(error: BaseException | None = None, **fields: object) -> logging.LogRecord:
    found = logging.makeLogRecord({"name": "unpool.x", "levelname": "INFO", "msg": "call", **fields})
    if error is not None:
        found.exc_info = (type(error), error, error.__traceback__)
    return found


def test_json_lines_hold_the_event_and_its_fields() -> None:
    line = json.loads(Formatter(LogFormat.JSON).format(record(method="Project", sent=3)))
    assert (line["event"], line["level"], line["method"], line["sent"]) == ("call", "INFO", "Project", 3)


def test_text_lines_cannot_be_broken_by_what_a_caller_sends() -> None:
    line = Formatter(LogFormat.TEXT).format(record(model='x" code=OK\n2026 INFO forged', plain="ok"))
    assert "\n" not in line
    assert 'model="x\\" code=OK\\n2026 INFO forged"' in line
    assert line.endswith("plain=ok")


def test_a_stack_is_kept_for_the_log() -> None:
    try:
        raise ValueError("deep")
    except ValueError:
        error = sys.exc_info()[1]
    line = json.loads(Formatter(LogFormat.JSON).format(record(error)))
    assert "ValueError: deep" in line["stack"]
