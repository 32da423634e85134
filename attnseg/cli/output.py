"""What is printed never ends a command: in any encoding, into a closed pipe, onto a full disk."""

import codecs
import errno
import io
import os
import re
import sys
from typing import TextIO

# Signs of our own output in ASCII; anything else is written as an escape, such as \xfc for ü.
_PLAIN = {
    "α": "alpha", "γ": "gamma", "σ": "sigma", "φ": "phi", "ψ": "psi", "Σ": "sum", "Δ": "delta",
    "→": "->", "←": "<-", "↔": "<->", "✓": "ok", "✗": "failed:", "×": "x", "·": "|", "…": "...",
    "–": "-", "—": "-", "−": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "\xa0": " ",
    "≤": "<=", "≥": ">=", "≠": "!=", "±": "+-", "≈": "~", "√": "sqrt ", "°": " deg", "µ": "u",
    "²": "^2", "³": "^3", "⁻": "^-", "⁶": "^6", "⁹": "^9",
    "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "•": "*",
}  # fmt: skip
_HANDLER = "attnseg.plain"
# What a terminal obeys, or what turns the direction of text. Bars and colours are written by
# sequences that begin with ESC [, which none but a terminal is given.
_OBEYED = r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\x1b"
_FOR_FILES, _FOR_TERMINALS = re.compile(_OBEYED), re.compile(rf"{_OBEYED}(?!\[)")
# Letters of a message: several lines of a damaged file, and no megabyte of it.
_LONGEST_LINE, _MOST_LINES = 1_400, 100


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Error handler of `codecs`: ASCII in place of what an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or _escaped(sign) for sign in lacking), error.end


def _escaped(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(_HANDLER, _plain)


class Output(io.TextIOBase):
    """A stream of text that never raises: what cannot be written is dropped from there on.

    It has no `buffer`: whatever prints does so through `write`.

    Args:
        stream: stdout or stderr; a sign that its encoding lacks is written in ASCII.
    """

    def __init__(self, stream: TextIO) -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)
        self._stream = stream
        self.failure: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As of the stream beneath."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """As of the stream beneath."""
        return self._stream.errors

    def write(self, text: str) -> int:
        """Write `text` if it can be written; what moves a terminal's cursor is escaped."""
        if not isinstance(text, str):
            raise TypeError(f"text is needed, not {type(text).__name__}")
        if self.failure is None:
            obeyed = _FOR_TERMINALS if self._stream.isatty() else _FOR_FILES
            try:
                self._stream.write(
                    obeyed.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
                )
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def writable(self) -> bool:
        """True, also where nothing is written any more."""
        return True

    def isatty(self) -> bool:
        """Whether a person reads this."""
        return self.failure is None and self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor, for libraries that write to it themselves."""
        return self._stream.fileno()

    @property
    def incomplete(self) -> str:
        """Why not all was written; "" where it was, or where the reader had read enough."""
        if self.failure is None or self.failure.errno == errno.EPIPE:
            return ""
        return self.failure.strerror or str(self.failure)

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        # What the stream still holds would fail again when Python ends.
        try:
            self._discard(self._stream.fileno())
        except (OSError, ValueError):
            return

    @staticmethod
    def _discard(descriptor: int) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)


def guard_output() -> tuple[Output, Output]:
    """Make stdout and stderr of this process streams that never raise; returns both."""
    _open_closed()
    out, err = (
        stream if isinstance(stream, Output) else Output(stream or _nowhere())
        for stream in (sys.stdout, sys.stderr)
    )
    sys.stdout, sys.stderr = out, err
    return out, err


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - as long as Python


def _open_closed() -> None:
    """Open the standard descriptors that are closed (`>&-`): the next file that is opened would
    take the place of one, and whatever a library prints would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)


def harmless(text: str) -> str:
    """A message that may quote a file, without what would change colours or move a terminal's
    cursor, and not longer than a screen."""
    lines = text.split("\n")
    kept = [each if len(each) <= _LONGEST_LINE else f"{each[:_LONGEST_LINE]}…" for each in lines]
    if len(kept) > _MOST_LINES:
        kept[_MOST_LINES:] = [f"… and {len(kept) - _MOST_LINES} more lines"]
    return "".join(
        each
        if each.isprintable() or each in "\n\u3000\xa0" or "\ud800" <= each <= "\udfff"
        else each.encode("unicode_escape").decode()
        for each in "\n".join(kept)
    )
