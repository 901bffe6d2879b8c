"""How log lines are written: to standard error, with card and bank numbers, and links that open an account, masked."""

from __future__ import annotations

import logging
import re

# A run of 9 to 19 digits, or a card number in its printed groups. Dates, GUIDs and amounts do not look like this.
_NUMBER = re.compile(
    r"(?<![0-9A-Za-z.-])(?:\d{9,19}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}|\d{4}[ -]\d{6}[ -]\d{4,5})(?![0-9A-Za-z])"
)
# A link from a text, or to a CloudPay payment: whoever has its code may look at a bill and pay it.
_LINK = re.compile(r"(?<![0-9A-Za-z])(t/(?=[0-9A-Za-z]+-)|cloudpay/)[0-9A-Za-z_-]+")


def mask(text: str) -> str:
    """Put an ellipsis and the last four digits where a card or bank number stands, and an ellipsis for a link's code."""
    return _NUMBER.sub(lambda found: "…" + re.sub(r"\D", "", found[0])[-4:], _LINK.sub(r"\1…", text))


class MaskingFormatter(logging.Formatter):
    """Masks the finished line, so that arguments and tracebacks are masked as well as the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record as one masked text."""
        return mask(super().format(record))
