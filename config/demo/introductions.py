"""What the demonstration says of itself: where its pages are, and who can sign in."""

from __future__ import annotations

from django.conf import settings

from config.demo import people


def introduction() -> str:
    """Give the addresses and the sign-ins as lines for a terminal."""
    base = settings.PUBLIC_URL
    addresses = (
        ("What runs, sign-ins, codes", f"{base}/demo/"),
        ("Customer portal", f"{base}/"),
        ("Biller portal", f"{base}/biller/"),
        ("Administration", f"{base}/admin/"),
        ("The processor's book", f"{base}/demo/processor"),
        ("What the biller's system heard", f"{base}/demo/cis"),
        ("A telephone, to pay by text", f"{base}/demo/phone"),
    )
    lines = [f"{name:<32}{address}" for name, address in addresses]
    lines += ["", f"Sign in at {base}/accounts/login/ with the password {people.PASSWORD} as"]
    lines += [f"  {one.email:<22}{one.part}" for one in people.sign_ins()]
    lines += [f"The biller's own people are asked for a code as well: {base}/demo/ shows the one of the moment."]
    return "\n".join(lines)
