"""What may be kept and shown of an envelope or an answer: all but credentials and card or bank numbers.

Source: PAY-17; real servers that echo a whole request, escaped, inside a Fault.
"""

from __future__ import annotations

import re

DOTS = "••••••••"
MAX_REASON = 300
MAX_KEPT = 64 * 1024
"""Characters kept of one body; a batch of a hundred payments stays below."""

_NAMES = "UserID|UserName|User|Pwd|Passwd|Password"
_QUOTE = r"\"|'|&quot;|&apos;|&#0*3[49];|&#[xX]0*2[27];|&amp;quot;|&amp;apos;"
# An attribute in any quotes, also in an escaped echo, also cut off before its closing quote.
_ATTRIBUTE = re.compile(rf"\b({_NAMES})(\s*=\s*)({_QUOTE})(?:(?!\3)[^<])*(\3|(?=<)|\Z)", re.IGNORECASE)
_ELEMENT_ONLY = "creditCardInfo|checkInfo|cardNumber|cardID|cvv2?|cvc2?|routingNumber|bankAccountNumber"
# An element, plain or escaped, up to its end tag or the end of what there is.
_ELEMENT = re.compile(
    rf"((?:<|&lt;)(?:[\w.-]+:)?({_NAMES}|{_ELEMENT_ONLY})(?=[\s/>&])(?:(?!>|&gt;).)*(?:>|&gt;))"
    r"(?:(?!(?:<|&lt;)/(?:[\w.-]+:)?\2(?=[\s>&])).)+",
    re.IGNORECASE | re.DOTALL,
)
# In words: "invalid password hunter2", "Pwd: hunter2".
_WORDS = re.compile(
    r"\b(Pwd|Passwd|Password)(\s*[:=]\s*|\s+(?:is\s+)?[\"'])(?!\s*[\"'&•])([^\s\"'<&•]+)",
    re.IGNORECASE,
)
# In JSON: "password": "hunter2", also cut off before its closing quote; and a secret of webhooks, wherever it stands.
_MEMBER = re.compile(
    rf"(\"(?:{_NAMES}|{_ELEMENT_ONLY}|secret|access_token|client_secret)\"\s*:\s*\")(?!•)(?:[^\"\\]|\\.)+",
    re.IGNORECASE | re.DOTALL,
)
_WEBHOOK_SECRET = re.compile(r"whs(?:ec|k)_[A-Za-z0-9+/=_-]+")
# A GUID is kept whole although some of its parts may look like a card number.
_NUMBER = re.compile(
    r"(?P<guid>(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f]))"
    r"|(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])"
)
# The delivery loop masks every body, so those in which nothing can need a mask are known by a few passes over their bytes,
# and our own header by a short way. The long way, for all others, masks whatever the short ones would.
_OUR_HEADER = re.compile(r'\b(UserID|Pwd)="[^"<]*"')
_SECRET_STEMS = ("user", "pwd", "passw")
_ELEMENT_STEMS = tuple(stem.lower() for stem in _ELEMENT_ONLY.replace("2?", "").split("|"))
_LONG_NUMBER = re.compile(r"[0-9](?:[ -]?[0-9]){12}")
_MEMBER_STEMS = ("secret", "access_token", "whsec_", "whsk_")
_STEMS = (*_SECRET_STEMS, *_ELEMENT_STEMS, *_MEMBER_STEMS)
_PLAIN = bytes([9, 10, 13, *range(32, 127)])
_FOLDED = bytes.maketrans(b"123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"000000000abcdefghijklmnopqrstuvwxyz")
_DIGITS = "0" * 13
_UNKEEPABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def mask(body: bytes) -> str:
    """Return at most ``MAX_KEPT`` characters of a body, with dots for credentials and for numbers like a card's.

    Whatever the bytes are, the text can be stored in PostgreSQL: characters that cannot are replaced.
    """
    if is_plain(body):
        return body.decode("ascii")
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        decoded = body.decode("utf-16", errors="replace")
    else:
        # Zero bytes go first: they are how UTF-16 without its mark would slip past the patterns.
        decoded = body.replace(b"\x00", b"").decode("utf-8", errors="replace")
    # Masked before it is cut, so that the cut cannot separate a secret from the name that gives it away.
    masked = mask_text(decoded[: 4 * MAX_KEPT])
    return masked if len(masked) <= MAX_KEPT else masked[:MAX_KEPT] + " … (cut)"


def is_plain(body: bytes) -> bool:
    """Tell whether a body is printable ASCII, short enough to keep whole, with nothing in it that could need a mask.

    It errs on one side alone: that a body is not plain means no more than that it must be looked at closely.
    """
    if len(body) > MAX_KEPT or body.translate(None, _PLAIN):
        return False
    folded = body.translate(_FOLDED, b" -").decode("ascii")
    return _DIGITS not in folded and not any(map(folded.__contains__, _STEMS))


def mask_start(start: str, end: str) -> str | None:
    """Mask what stands before an envelope's content; None where that depends on the content or on what stands after it.

    Around a plain content the result is what ``mask`` makes of the whole.
    """
    rest = _OUR_HEADER.sub("", start)
    if not (start.endswith(">") and is_plain(rest.encode()) and end.startswith("<") and is_plain(end.encode())):
        return None
    return mask_text(start)


def mask_text(text: str) -> str:
    """Return a text, such as a Fault's, masked as ``mask`` does."""
    text = _UNKEEPABLE.sub("\ufffd", text)
    text, masked = _OUR_HEADER.subn(rf'\1="{DOTS}"', text)
    lowered = text.lower()
    others = (*_ELEMENT_STEMS, *_MEMBER_STEMS)
    if sum(map(lowered.count, _SECRET_STEMS)) > masked or any(stem in lowered for stem in others):
        text = _MEMBER.sub(rf"\1{DOTS}", text)
        text = _WEBHOOK_SECRET.sub(DOTS, text)
        text = _ATTRIBUTE.sub(rf"\1\2\3{DOTS}\4", text)
        text = _ELEMENT.sub(rf"\1{DOTS}", text)
        text = _WORDS.sub(rf"\1\2{DOTS}", text)
    return _NUMBER.sub(_mask_number, text) if _LONG_NUMBER.search(text) else text


def clip(text: str, limit: int = MAX_REASON) -> str:
    """Return somebody else's words fit to keep and show: one line, masked, at most ``limit`` characters."""
    line = mask_text(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _mask_number(match: re.Match[str]) -> str:
    found = match[0]
    if match["guid"] is not None:
        return found
    digits = [int(digit) for digit in found if digit.isdigit()]
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return found if total % 10 else DOTS + found[-4:]
