"""What second factors are made of, encrypted at rest: secrets of authenticators and seeds of recovery codes.

The package that keeps them gives a text and no row, so they are bound to their table alone.
"""

from __future__ import annotations

from allauth.mfa.adapter import DefaultMFAAdapter

from billing import secrets

BOUND_TO = "mfa_authenticator.data"
SEALED = ("secret", "seed")
"""The entries of an authenticator's data that are ciphertexts."""


class SealedFactors(DefaultMFAAdapter):  # type: ignore[misc]  # the package has no types
    """Encrypts and decrypts for the package."""

    def encrypt(self, text: str) -> str:
        """Encrypt one entry."""
        return secrets.encrypt(text, bound_to=BOUND_TO)

    def decrypt(self, encrypted_text: str) -> str:
        """Decrypt one entry.

        :raises billing.secrets.SecretUnreadable: the key is gone.
        """
        return secrets.decrypt(encrypted_text, bound_to=BOUND_TO)
