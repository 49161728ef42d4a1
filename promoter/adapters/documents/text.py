"""From bytes to text that is safe to parse: bounded, UTF-8, and without characters that no editor shows."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from promoter.domain.faults import Fault

REGISTRY_LIMIT = 5 * 2**20
POLICY_LIMIT = 256 * 2**10
FAULT_LIMIT = 1_000
BYTE_ORDER_MARK = "\ufeff"

# Beyond what YAML forbids: characters that some readers take for a line break (every later position would be off), and
# those that turn the direction of text (what a reviewer sees would not be what is applied).
_INVISIBLE_CHARACTER = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]"
)
_LINE_BREAK = re.compile("\r\n|\r|\n")


@dataclass(frozen=True)
class SourceText:
    """A file's text. `mark` is the byte order mark that stood before it, kept for writing the file again."""

    content: str
    mark: str = ""

    def encode_source(self) -> bytes:
        """The very bytes that it came from."""
        return (self.mark + self.content).encode()


class LineIndex:
    """Which line and column a character stands in, for those few that a fault is about."""

    def __init__(self, text: str) -> None:
        """Where the lines begin is found when first asked for."""
        self._text = text

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in _LINE_BREAK.finditer(self._text))]

    def line_and_column(self, index: int) -> tuple[int, int]:
        """Line and column, from 1, of the character at `index` (from 0)."""
        line = bisect_right(self._line_starts, index)
        return line, index - self._line_starts[line - 1] + 1


def decode_source_text(file: str, content: bytes, limit: int) -> SourceText | list[Fault]:
    """The text, or why there is none. `limit` is in bytes."""
    if len(content) > limit:
        size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 2**10} KiB"
        return [Fault(f"larger than {size}: not read", file)]
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return [_build_utf8_fault(file, content, error.start)]
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    body = text[len(mark) :]
    if faults := _find_invisible_faults(file, body):
        return faults
    return SourceText(body, mark)


def escape_invisible(text: str) -> str:
    """With each character that `decode_source_text` refuses written as an escape of a double-quoted scalar."""
    return _INVISIBLE_CHARACTER.sub(lambda found: f"\\U{ord(found[0]):08x}", text)


def _build_utf8_fault(file: str, content: bytes, offset: int) -> Fault:
    begin = content.rfind(b"\n", 0, offset) + 1
    line, column = content.count(b"\n", 0, offset) + 1, len(content[begin:offset].decode(errors="replace")) + 1
    return Fault("not UTF-8 text", file, line=line, column=column, fix="save the file as UTF-8")


def _find_invisible_faults(file: str, text: str) -> list[Fault]:
    faults: list[Fault] = []
    lines = LineIndex(text)
    for found in islice(_INVISIBLE_CHARACTER.finditer(text), FAULT_LIMIT):
        line, column = lines.line_and_column(found.start())
        message = f"invisible or control character U+{ord(found[0]):04X}"
        faults.append(Fault(message, file, line=line, column=column, fix="take it out, or escape it in double quotes"))
    return faults
