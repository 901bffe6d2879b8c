"""Signing staff in, past the pages that ask for a password and a second factor; those have tests of their own."""

from __future__ import annotations

import itertools

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from billing.models import Biller, Role, User
from tests.factories import make_membership

_numbers = itertools.count(1)


def make_staff(biller: Biller, role: str = Role.ADMINISTRATOR, **fields: str) -> User:
    """Make one of a biller's people, with a second factor."""
    # No password: hashing one takes longer than most tests.
    user = User.objects.create_user(fields.pop("email", f"staff{next(_numbers)}@example.com"), None, **fields)
    make_membership(user, biller, role)
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": "not-used"})
    return user


def client_of(user: User) -> Client:
    """Give a client that is signed in as the user."""
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def sign_in(page: Page, user: User, live_server: LiveServer) -> None:
    """Sign a browser in as the user."""
    session = client_of(user).cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
