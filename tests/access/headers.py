"""What every answer must say to browsers and caches."""

from __future__ import annotations

from collections.abc import Mapping

from config.middleware import PERMISSIONS_POLICY

REQUIRED: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": PERMISSIONS_POLICY,
}
POLICY = ("object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'", "default-src 'self'")
_TOO_MUCH = {"*", "http:", "https:", "blob:", "'strict-dynamic'"}
# An address that opens an account is told to no other.
LINKS = ("/t/", "/sign-on/", "/cloudpay/", "/demo/portal")
# The same for everybody, and named by what it holds.
KEPT = ("/look/", "/static/")
# A picture is shown as a picture, or opened by itself in a sandbox that runs nothing; drawings style themselves inline.
SANDBOXED = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def faults(path: str, headers: Mapping[str, str]) -> list[str]:
    """Name what the headers of an answer lack."""
    required = {**REQUIRED, "Referrer-Policy": "strict-origin"} if path.startswith(LINKS) else REQUIRED
    found = [
        f"{name}: {headers.get(name)!r}, not {value!r}"
        for name, value in required.items()
        if headers.get(name) != value
    ]
    policy = headers.get("Content-Security-Policy", "")
    if not (policy == SANDBOXED and path.startswith("/look/logo/")):
        found += [f"no {part} in the policy {policy!r}" for part in POLICY if part not in policy]
        allowed = set(policy.replace(";", " ").split())
        found += [f"the policy allows {word}" for word in allowed if word in _TOO_MUCH or word.startswith("'unsafe")]
    kept = headers.get("Cache-Control", "")
    if "no-store" not in kept and not path.startswith(KEPT):
        found.append(f"may be kept: {kept!r}")
    found += cookie_faults(headers.get("Set-Cookie", ""))
    if "Server" in headers or "X-Powered-By" in headers:
        found.append("says what it runs on")
    return found


def cookie_faults(cookies: str, *, secure: bool = False) -> list[str]:
    """Name what the cookies of an answer lack: each on a line, or divided by ``; `` where a name begins."""
    found = []
    # One that is taken away needs nothing.
    for cookie in [part for part in map(str.strip, cookies.split("\n")) if part and "Max-Age=0" not in part]:
        said = {word.strip().split("=")[0].lower() for word in cookie.split(";")}
        needed = {"httponly", "samesite", "path", *({"secure"} if secure else ())}
        found += [f"the cookie {cookie.split('=')[0]} is not {word}" for word in sorted(needed - said)]
        if secure and not cookie.startswith("__Host-") and not cookie.startswith("django_language"):
            found.append(f"the cookie {cookie.split('=')[0]} may be set by another host")
    return found
