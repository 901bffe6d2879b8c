"""Secrets at rest: bound to their row, unreadable elsewhere, and rotated without a stop."""

from __future__ import annotations

import json
import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from django.core.management import call_command
from django.db import connection
from pytest_django.fixtures import Settings

from billing.actors import Actor
from billing.models import AuditEntry, User
from billing.operations import secrets as rotation
from billing.secrets import SecretUnreadable, add_key, decrypt, encrypt
from datapump.models import Endpoint
from payments.models import Route
from tests.factories import make_biller, make_endpoint, make_route

pytestmark = pytest.mark.django_db(transaction=True)


def stored(table: str, column: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table} ORDER BY 1")
        return [text for (text,) in cursor.fetchall()]


def test_secret_is_not_readable_in_the_database_and_opens_from_its_row() -> None:
    make_endpoint(make_biller(), password="hunter2-of-the-cis")
    (ciphertext,) = stored("datapump_endpoint", "password")
    assert "hunter2" not in ciphertext
    assert Endpoint.objects.get().password == "hunter2-of-the-cis"


def test_ciphertext_copied_to_another_row_does_not_open() -> None:
    biller = make_biller()
    make_route(biller, secret="first-secret")
    other = make_route(biller, secret="second-secret")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payments_route SET secret = (SELECT secret FROM payments_route WHERE id <> %s)", [other.pk]
        )
    with pytest.raises(SecretUnreadable):
        _ = Route.objects.get(pk=other.pk).secret


def test_every_changed_bit_is_refused() -> None:
    import base64

    sealed = bytearray(base64.b64decode(encrypt("a secret", bound_to="here")))
    for position in range(len(sealed)):
        sealed[position] ^= 1
        with pytest.raises(SecretUnreadable):
            decrypt(base64.b64encode(bytes(sealed)).decode(), bound_to="here")
        sealed[position] ^= 1
    assert decrypt(base64.b64encode(bytes(sealed)).decode(), bound_to="here") == "a secret"


def test_update_of_many_rows_cannot_store_a_secret_as_it_is() -> None:
    make_route(make_biller())
    before = stored("payments_route", "secret")
    with pytest.raises(TypeError):
        Route.objects.update(secret="plain")
    assert stored("payments_route", "secret") == before


def test_rotation_encrypts_anew_and_the_old_key_may_go(settings: Settings) -> None:
    biller = make_biller()
    make_route(biller, secret="of the route")
    make_endpoint(biller, password="of the endpoint")
    make_route(biller, secret="")
    old = json.loads(settings.KEYSET)
    settings.KEYSET = add_key(settings.KEYSET)
    assert Route.objects.exclude(secret="").get().secret == "of the route"  # the old key still opens
    before = stored("payments_route", "secret") + stored("datapump_endpoint", "password")

    assert rotation.rotate(actor=Actor.system("test")) == 2

    after = stored("payments_route", "secret") + stored("datapump_endpoint", "password")
    assert [text for text in before if text and text in after] == []
    assert AuditEntry.objects.filter(event="secrets.rotated").get().facts == {"count": 2}
    new = json.loads(settings.KEYSET)
    settings.KEYSET = json.dumps({**new, "key": [key for key in new["key"] if key["keyId"] != old["primaryKeyId"]]})
    assert Route.objects.exclude(secret="").get().secret == "of the route"
    assert Endpoint.objects.get().password == "of the endpoint"
    assert rotation.rotate(actor=Actor.system("test")) == 0


def test_second_factors_are_sealed_and_rotated(settings: Settings) -> None:
    user = User.objects.create_user("staff@example.com", None)
    factor = TOTP.activate(user, "JBSWY3DPEHPK3PXP").instance
    codes = RecoveryCodes.activate(user)
    shown = codes.get_unused_codes()
    before = Authenticator.objects.order_by("pk").values_list("data", flat=True)
    assert "JBSWY3DPEHPK3PXP" not in str(list(before))
    old = json.loads(settings.KEYSET)
    settings.KEYSET = add_key(settings.KEYSET)
    assert rotation.rotate(actor=Actor.system("test")) == 2
    new = json.loads(settings.KEYSET)
    settings.KEYSET = json.dumps({**new, "key": [key for key in new["key"] if key["keyId"] != old["primaryKeyId"]]})
    factor.refresh_from_db()
    codes.instance.refresh_from_db()
    assert TOTP(factor).validate_code(code_at_this_moment("JBSWY3DPEHPK3PXP"))
    assert codes.get_unused_codes() == shown
    assert rotation.rotate(actor=Actor.system("test")) == 0


def code_at_this_moment(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def test_command_prints_a_keyset_and_rotates(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    make_route(make_biller(), secret="of the route")
    call_command("rotate_secrets", "--new-key")
    keyset = capsys.readouterr().out
    assert len(json.loads(keyset)["key"]) == 2
    settings.KEYSET = keyset
    call_command("rotate_secrets")
    assert capsys.readouterr().out == "1 secrets were encrypted anew under the primary key.\n"
