"""The OpenAPI document: as checked in, true of the real server under fuzzing, and shown by a page of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import yaml
from django.core.management import call_command
from django.test import Client
from hypothesis import HealthCheck, Phase, given, seed, settings
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from billing.models import Scope
from config.environment import ROOT
from payments.models import Payment
from sms.models import Consent, SmsMode, Text
from sms.operations import enrolments
from tests.api.conftest import Town
from tests.api.machines import OPERATOR
from tests.browsers import violations

pytestmark = pytest.mark.django_db(transaction=True)

REFUSAL = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
DOCUMENT = ROOT / "docs" / "openapi.yaml"


def test_document_checked_in_is_the_one_that_the_code_makes(tmp_path: Any) -> None:
    made = tmp_path / "openapi.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(made))
    assert made.read_text() == DOCUMENT.read_text(), "make openapi, and commit docs/openapi.yaml"


def test_document_is_served_to_everybody_and_says_how_calls_are_refused() -> None:
    response = Client().get("/api/v1/openapi.yaml")
    assert response.status_code == 200
    served = yaml.safe_load(response.content)
    assert served == yaml.safe_load(DOCUMENT.read_text())
    for path, calls in served["paths"].items():
        for verb, call in calls.items():
            [scope] = call["security"][0]["key"]
            assert scope == "read" if verb == "get" else scope in set(Scope.values) - {"read"}, path
            assert call["description"].endswith(f"The key needs the scope `{scope}`.")
            for status in ("401", "403", "default"):
                assert call["responses"][status]["content"] == REFUSAL, (path, verb)
    take = served["paths"]["/api/v1/payments/"]["post"]
    assert sorted(take["responses"]) == ["201", "202", "401", "402", "403", "409", "422", "default"]
    (header,) = [one for one in take["parameters"] if one["in"] == "header"]
    assert (header["name"], header["required"]) == ("Idempotency-Key", True)


@pytest.mark.parametrize("served", ["schema", "code"])
def test_every_address_is_in_the_document(served: str) -> None:
    from config import api

    def paths(patterns: list[Any], before: str = "") -> Iterator[str]:
        for one in patterns:
            here = before + str(one.pattern)
            if hasattr(one, "url_patterns"):
                yield from paths(one.url_patterns, here)
            elif one.name not in {"api-openapi", "api-docs", "api-nowhere"}:
                yield "/api/v1/" + here.replace("<int:pk>", "{id}").replace("<uuid:pk>", "{id}")

    documented, routed = set(yaml.safe_load(DOCUMENT.read_text())["paths"]), set(paths(api.urlpatterns))
    assert (documented - routed if served == "schema" else routed - documented) == set()


# ---- Fuzzing --------------------------------------------------------------------------------------------------------

EXAMPLES = 12
schema = schemathesis.openapi.from_path(str(DOCUMENT))
OPERATIONS: dict[str, Any] = {
    one.ok().definition.raw["operationId"]: one.ok()  # type: ignore[union-attr]  # the document is valid
    for one in schema.get_all_operations()
}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_no_input_breaks_a_call_or_makes_it_answer_what_the_document_does_not_say(
    name: str, town: Town, other_town: Town, live_server: LiveServer
) -> None:
    """Random calls over a socket with the keys of two billers; what the one has the other never sees or changes.

    That a call is well formed does not mean that it is granted: an unknown account is refused like a bad one.
    """
    operation = OPERATIONS[name]
    enrolments.enrol(
        customer=town.customer, number="+15055550123", consent=Consent("By phone.", "Texts.", "1"), actor=OPERATOR
    )
    known = {
        "invoices": town.invoice.pk, "customers": town.customer.pk, "instruments": str(town.instrument.pk),
        "texts": str(Text.objects.get().pk),
    }.get(operation.path.split("/")[3])  # fmt: skip
    theirs = books_of(other_town)

    @seed(20261122)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def call(case: Any) -> None:
        for machine in (town.machine, other_town.machine):
            if machine is town.machine and known is not None and "id" in (case.path_parameters or {}):
                case.path_parameters["id"] = known
            elif machine is other_town.machine and case.method not in {"GET"}:
                continue
            key = {"Authorization": f"Bearer {machine.key}"}
            response = case.call(base_url=live_server.url, headers=key, timeout=30)
            case.validate_response(response, excluded_checks=[checks.positive_data_acceptance])
            if machine is other_town.machine and case.method == "GET":
                assert f'"id":{town.customer.pk},"number":"35909-001","name"' not in response.text

    call()
    assert books_of(other_town) == theirs


def books_of(town: Town) -> list[Any]:
    """What a call with another biller's key must leave alone."""
    return [
        *Payment.objects.filter(biller=town.biller).values_list("pk", "state"),
        *town.customer.instruments.values_list("pk", "state", "is_default"),
        town.biller.customers.values_list("paperless", "balance").get(),
        *SmsMode.objects.filter(biller=town.biller).values_list("number", "registered"),
        Text.objects.filter(biller=town.biller).count(),
    ]


def test_fuzzing_finds_a_fault(town: Town, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: an answer that the document does not describe is found."""
    from billing.api.customers import CustomerShape

    monkeypatch.setattr(CustomerShape, "to_representation", lambda self, row: {"id": row.pk})
    with pytest.raises(FailureGroup, match="is a required property"):
        test_no_input_breaks_a_call_or_makes_it_answer_what_the_document_does_not_say(
            "customers_read", town, town, live_server
        )


# ---- The page -------------------------------------------------------------------------------------------------------


def test_page_shows_the_calls_and_tries_one(town: Town, page: Page) -> None:
    """Strict content security policy and no foreign origin: the browser reports nothing."""
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if "localhost" not in request.url else None)
    page.goto("/api/v1/docs/")
    expect(page.get_by_role("heading", name="Ratepayer")).to_be_visible()
    for tag in ("customers", "invoices", "payments", "methods", "enrolments", "datapump"):
        expect(page.locator(f"#operations-tag-{tag}")).to_be_visible()
    page.get_by_role("button", name="Authorize").click()
    page.locator(".modal-ux input").fill(town.machine.key)
    page.locator(".modal-ux").get_by_role("button", name="Apply credentials").click()
    page.locator(".modal-ux .btn-done").click()
    page.locator("#operations-biller-biller_read .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute", exact=True).click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    expect(page.locator(".live-responses-table")).to_contain_text(str(town.biller.guid))
    assert foreign == []
    assert violations(page) == []
