"""What the demonstration says of itself: where its pages are, and who can sign in."""

from __future__ import annotations

from django.conf import settings

from config.demo import people

_SIGHTS = (
    f"Add money as {people.PREPAID.email}: the CIS hears of it, and what is left grows.",
    f"Arrive from Red Mesa's own portal without a sign-in, pay, and go back; {people.CSR.email} reads in Red Mesa's DataPump"
    " history which webhook told of it.",
    f"Text PAY from a telephone; make the CIS or the processor misbehave, and pay as {people.OWNER.email}.",
)


def introduction() -> str:
    """Give the addresses and the sign-ins as lines for a terminal."""
    base = settings.PUBLIC_URL
    addresses = (
        ("What runs, sign-ins, codes", f"{base}/demo/"),
        ("Customer portal", f"{base}/"),
        ("Biller portal", f"{base}/biller/"),
        ("Administration", f"{base}/admin/"),
        ("The processor's book", f"{base}/demo/processor"),
        ("What Maple Falls' CIS heard", f"{base}/demo/cis"),
        ("What Red Mesa's system heard", f"{base}/demo/receiver"),
        ("Red Mesa's own portal", f"{base}/demo/portal"),
        ("A telephone, to pay by text", f"{base}/demo/phone"),
    )
    lines = [f"{name:<32}{address}" for name, address in addresses]
    lines += ["", f"Sign in at {base}/accounts/login/ with the password {people.PASSWORD} as"]
    lines += [f"  {one.email:<22}{one.part}" for one in people.sign_ins()]
    lines += [f"The billers' own people are asked for a code as well: {base}/demo/ shows the one of the moment."]
    lines += ["", "For a look:"]
    lines += [f"  {one}" for one in _SIGHTS]
    return "\n".join(lines)
