"""DataPump in the admin: real form fields, secrets never shown, nothing written past the operations."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from billing.models import AuditEntry, Biller, Setting
from datapump.models import ChangeLog, Configuration, Delivery, Endpoint, Envelope, Record, RecordType
from tests.cis import Cis
from tests.datapump.conftest import billed, deliver, endpoint_of, enrol, pay
from tests.factories import make_user
from tests.staff import client_of

FORM = {
    "setting_11": "https://cis.example/services/CB", "setting_12": "InvoiceUser", "setting_13": "", "setting_35": "2",
    "setting_64": "0(WEB)", "setting_65": "", "default_mode": "", "per_envelope": "1", "in_flight": "4",
    "timeout_seconds": "30", "attempts_allowed": "5",
    "header_Version": "", "header_AppName": "", "header_AppVersion": "", "header_Company": "",
}  # fmt: skip


@pytest.fixture
def admin(transactional_db: None) -> Client:
    """An administrator of the installation, signed in."""
    user = make_user(is_staff=True, is_superuser=True, name="Olive Operator")
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": "not-used"})
    return client_of(user)


def test_an_endpoint_is_edited_by_its_numbered_settings(admin: Client, biller: Biller, cis: Cis) -> None:
    endpoint = endpoint_of(biller)
    url = f"/admin/datapump/endpoint/{endpoint.pk}/change/"
    page = admin.get(url).content.decode()
    for number in (11, 12, 13, 35, 64, 65):
        assert f"{number} – " in page
    assert cis.password not in page
    assert "which may come twice" in page  # MSP-7: the admin warns
    assert admin.post(url, FORM).status_code == 302
    changed = endpoint_of(biller)
    assert (changed.url, changed.username, changed.password) == (FORM["setting_11"], "InvoiceUser", cis.password)
    entry = AuditEntry.objects.get(event="endpoint.changed")
    assert (entry.actor, entry.requestor) == ("Olive Operator", 6)
    wrong = admin.post(url, FORM | {"setting_64": "WEB"})
    assert wrong.status_code == 422
    assert "Write it like 0(WEB)" in wrong.content.decode()
    assert AuditEntry.objects.filter(event="endpoint.changed").count() == 1


def test_the_switches_and_setting_131(admin: Client, biller: Biller) -> None:
    url = f"/admin/datapump/configuration/{Configuration.objects.get(biller=biller).pk}/change/"
    assert "Pay By Text Changes" in admin.get(url).content.decode()
    given = {"payments": "on", "pay_by_text_changes": "on", "setting_131": '{"Daffron": {}}'}
    assert admin.post(url, given).status_code == 302
    kept = Configuration.objects.get(biller=biller)
    assert (kept.payments, kept.autopay, kept.pay_by_text_changes) == (True, False, True)
    assert Setting.objects.get(biller=biller).value == {"Daffron": {}}
    bad = admin.post(url, given | {"setting_131": '{"Daffron": 1}'})
    assert bad.status_code == 422
    assert Setting.objects.get(biller=biller).value == {"Daffron": {}}


def test_what_happened_is_there_to_read_and_nothing_more(admin: Client, biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    record = pay(customer)
    ChangeLog.objects.create(
        biller=biller, customer=customer, record=record, field="phone", requestor=1, made_by="Casey"
    )
    deliver()
    for model in (Record, Delivery, Envelope, ChangeLog):
        name = model._meta.model_name
        row = model.objects.get()
        assert str(biller) in admin.get(f"/admin/datapump/{name}/").content.decode()
        page = admin.get(f"/admin/datapump/{name}/{row.pk}/change/")
        assert page.status_code == 200
        assert cis.password not in page.content.decode()
        assert admin.post(f"/admin/datapump/{name}/{row.pk}/change/", {"state": "waiting"}).status_code == 403
        assert admin.get(f"/admin/datapump/{name}/add/").status_code == 403
        assert admin.post(f"/admin/datapump/{name}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Record.objects.get().state == "delivered"


def test_actions_call_the_operations(admin: Client, biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    record = pay(customer)
    deliver()
    chosen = {"action": "send_again", "_selected_action": [str(record.pk)]}
    admin.post("/admin/datapump/record/", chosen)
    assert Record.objects.get(pk=record.pk).state == "waiting"
    admin.post("/admin/datapump/record/", chosen | {"action": "skip"})
    assert Record.objects.get(pk=record.pk).closed_by == "Olive Operator"
    endpoint = endpoint_of(biller)
    chosen = {"action": "send_test", "_selected_action": [str(endpoint.pk)]}
    assert "answered in" in admin.post("/admin/datapump/endpoint/", chosen, follow=True).content.decode()
    admin.post("/admin/datapump/endpoint/", chosen | {"action": "pause"})
    assert Endpoint.objects.get(pk=endpoint.pk).paused
    enrol(customer, RecordType.AUTOPAY, True)
    admin.post("/admin/datapump/endpoint/", chosen | {"action": "resume"})
    assert not Endpoint.objects.get(pk=endpoint.pk).paused
    assert {one.event for one in AuditEntry.objects.filter(requestor=6)} == {
        "datapump.resent", "datapump.skipped", "endpoint.tested", "endpoint.paused", "endpoint.resumed",
    }  # fmt: skip
