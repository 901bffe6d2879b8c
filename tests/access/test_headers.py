"""What answers say to browsers and caches: on every kind of answer, and in the production profile.

The walk of every route asks the same of each answer that it gets; here are the kinds that no route gives.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path, reverse

from billing.secrets import make_keyset
from config.environment import ROOT
from config.urls import urlpatterns as every
from tests.access.headers import cookie_faults, faults


def breaks(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("4242 4242 4242 4242 is what a traceback must not show")


urlpatterns = [*every, path("breaks", breaks)]


def headers_of(response: Any) -> dict[str, str]:
    found = {name: str(value) for name, value in response.items()}
    return found | {"Set-Cookie": response.cookies.output(header="", sep="\n")}


@pytest.mark.django_db
@pytest.mark.urls("tests.access.test_headers")
@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/accounts/login/", 200),
        ("/nowhere", 404),
        ("/breaks", 500),
        ("/static/ratepayer/ratepayer.css", 200),
        ("/static/nowhere.css", 404),
        ("/health", 200),
        ("/admin/", 302),
        ("/biller/", 302),
        ("/api/v1/biller/", 401),
        ("/api/v1/docs/", 200),
        ("/api/v1/openapi.yaml", 200),
        ("/look/accent-0b5394.css", 200),
    ],
)
def test_every_kind_of_answer_has_the_headers(address: str, status: int) -> None:
    response = Client(raise_request_exception=False).get(address)
    assert response.status_code == status
    assert faults(address, headers_of(response)) == []


@pytest.mark.django_db
def test_a_verb_that_no_page_has_is_refused_before_anything_else() -> None:
    for verb in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        response = Client().generic(verb, "/biller/accounts/1/")
        assert (response.status_code, response["Allow"]) == (405, "GET, HEAD, POST")
        assert faults("/", headers_of(response)) == []
    assert Client().generic("OPTIONS", "/api/v1/biller/").status_code == 401


@pytest.mark.django_db
@pytest.mark.urls("tests.access.test_headers")
def test_a_failure_tells_nobody_what_failed() -> None:
    response = Client(raise_request_exception=False).get("/breaks")
    body = response.content.decode()
    assert response.status_code == 500
    assert "RuntimeError" not in body and "Traceback" not in body and "4242" not in body


def test_a_file_of_figures_is_kept_nowhere_and_taken_for_nothing_else(client: Client, db: None) -> None:
    from tests.factories import make_biller
    from tests.staff import client_of, make_staff

    response = client_of(make_staff(make_biller())).get(reverse("biller-payments"), {"format": "csv"})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].startswith("attachment; ")
    assert faults("/biller/payments/", headers_of(response)) == []


# ---- Production --------------------------------------------------------------------------------------------------------

_PROGRAM = """
import json, sys
import django
django.setup()
from django.test import Client
from django.conf import settings
found = {}
client = Client(raise_request_exception=False, headers={"host": "pay.utility.example", "x-forwarded-proto": "https"})
for path in ("/accounts/login/", "/nowhere", "/health", "/api/v1/biller/", "/static/ratepayer/ratepayer.css", "/demo/",
             "/styleguide/", "/look/accent-0b5394.css"):
    answer = client.get(path, secure=True)
    found[path] = [answer.status_code, dict(answer.items()), answer.cookies.output(header="", sep="\\n")]
answer = client.post("/i18n/setlang/", {"language": "es"}, secure=True)
found["/i18n/setlang/"] = [answer.status_code, dict(answer.items()), answer.cookies.output(header="", sep="\\n")]
client = Client(headers={"host": "pay.utility.example"})
answer = client.get("/accounts/login/")
found["plain"] = [answer.status_code, dict(answer.items()), ""]
answer = client.get("/health")
found["plain health"] = [answer.status_code, dict(answer.items()), ""]
answer = Client(headers={"host": "elsewhere.example", "x-forwarded-proto": "https"}).get("/accounts/login/", secure=True)
found["another host"] = [answer.status_code, dict(answer.items()), ""]
found["session"] = [settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE, settings.SESSION_COOKIE_HTTPONLY,
                    settings.SESSION_COOKIE_SAMESITE]
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def production(django_db_setup: None) -> dict[str, Any]:
    """Ask a process that runs as in production."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PUBLIC_URL": "https://pay.utility.example",
        "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "RATEPAYER_KEYSET": make_keyset(),
        "DATABASE_URL": os.environ["DATABASE_URL"],
        "REDIS_URL": os.environ["REDIS_URL"],
        "EMAIL_URL": "smtp://mail.utility.example",
        "PROCESSOR_ORIGINS": "https://fields.processor.example",
        "PROXIES": "1",
        "STATIC_COLLECTED": "0",
        "LOG_LEVEL": "CRITICAL",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_production_answers_over_https_alone(production: dict[str, Any]) -> None:
    status, headers, _cookies = production["plain"]
    assert (status, headers["Location"]) == (301, "https://pay.utility.example/accounts/login/")
    assert production["plain health"][0] == 200
    assert production["another host"][0] == 400
    for asked in ("/accounts/login/", "/nowhere", "/api/v1/biller/"):
        assert production[asked][1]["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"


def test_production_has_the_headers_and_names_the_processor_alone(production: dict[str, Any]) -> None:
    for asked, answer in production.items():
        if asked.startswith("/"):
            _status, headers, cookies = answer
            assert faults(asked, headers | {"Set-Cookie": cookies}) == [], asked
            assert "127.0.0.1" not in headers["Content-Security-Policy"]
    policy = production["/accounts/login/"][1]["Content-Security-Policy"]
    assert "frame-src 'self' https://fields.processor.example" in policy


def test_production_keeps_its_cookies_to_itself(production: dict[str, Any]) -> None:
    cookies = production["/accounts/login/"][2]
    assert cookies.strip().startswith("__Host-csrf=")
    assert cookie_faults(cookies, secure=True) == []
    language = production["/i18n/setlang/"][2]
    assert "django_language=es" in language
    assert cookie_faults(language, secure=True) == []
    assert production["session"] == ["__Host-session", True, True, "Lax"]
    # A cookie whose name begins so is taken by browsers only without a domain and for every path.
    assert settings.SESSION_COOKIE_DOMAIN is None and settings.SESSION_COOKIE_PATH == "/"


def test_production_has_neither_the_demonstration_nor_the_style_guide(production: dict[str, Any]) -> None:
    assert (production["/demo/"][0], production["/styleguide/"][0]) == (404, 404)
