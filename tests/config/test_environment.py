"""A wrong variable is a sentence that names it and shows no secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import environment


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RATEPAYER_X", raising=False)
    with pytest.raises(ImproperlyConfigured, match="RATEPAYER_X is not set"):
        environment.text("RATEPAYER_X")
    assert environment.text("RATEPAYER_X", "other") == "other"


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("Yes", True), ("off", False), ("", False), ("no", False)]
)
def test_yes_and_no(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("RATEPAYER_X", value)
    assert environment.flag("RATEPAYER_X", default=not expected) is expected


def test_neither_yes_nor_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATEPAYER_X", "maybe")
    with pytest.raises(ImproperlyConfigured, match="RATEPAYER_X must be yes or no, not 'maybe'"):
        environment.flag("RATEPAYER_X", default=True)


@pytest.mark.parametrize(
    ("value", "said"), [("x", "whole number"), ("6", "between 0 and 5"), ("-1", "between 0 and 5")]
)
def test_numbers_have_limits(monkeypatch: pytest.MonkeyPatch, value: str, said: str) -> None:
    monkeypatch.setenv("RATEPAYER_X", value)
    with pytest.raises(ImproperlyConfigured, match=f"RATEPAYER_X.*{said}"):
        environment.integer("RATEPAYER_X", 1, least=0, most=5)


def test_a_database_is_read_with_its_quoted_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATEPAYER_X", "postgresql://web:p%40ss%2F@db.example:5433/bills?sslmode=verify-full")
    assert environment.database("RATEPAYER_X") == {
        "NAME": "bills",
        "USER": "web",
        "PASSWORD": "p@ss/",
        "HOST": "db.example",
        "PORT": "5433",
        "OPTIONS": {"sslmode": "verify-full"},
    }


@pytest.mark.parametrize(
    "value",
    [
        "mysql://web:hunter2@db/bills",
        "postgresql://web:hunter2@db:port/bills",
        "postgresql://web:hunter2@db",
        "postgresql://:hunter2@db/bills",
        "postgresql://web:hunter2@db/bills?sslmod=require",
    ],
)
def test_a_wrong_database_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RATEPAYER_X", value)
    with pytest.raises(ImproperlyConfigured, match="RATEPAYER_X") as refusal:
        environment.database("RATEPAYER_X")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("value", ["https://pay.example/bills", "pay.example", "ftp://pay.example", "https://"])
def test_the_public_address_is_an_origin(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RATEPAYER_X", value)
    with pytest.raises(ImproperlyConfigured, match="RATEPAYER_X must be like https"):
        environment.public_url("RATEPAYER_X")


def test_processors_are_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATEPAYER_X", "https://a.example, https://b.example:8443")
    assert environment.origins("RATEPAYER_X") == ["https://a.example", "https://b.example:8443"]
    monkeypatch.setenv("RATEPAYER_X", "https://a.example/fields")
    with pytest.raises(ImproperlyConfigured, match="RATEPAYER_X lists origins"):
        environment.origins("RATEPAYER_X")


@pytest.mark.parametrize(
    ("value", "port", "starttls", "tls"),
    [
        ("smtp://u:p%3A@mail.example", 587, True, False),
        ("smtps://u:p%3A@mail.example", 465, False, True),
        ("smtp+plain://u:p%3A@mail.example", 25, False, False),
    ],
)
def test_mail_servers(monkeypatch: pytest.MonkeyPatch, value: str, port: int, starttls: bool, tls: bool) -> None:
    monkeypatch.setenv("RATEPAYER_X", value)
    read = environment.email("RATEPAYER_X", "")
    assert (read["EMAIL_HOST"], read["EMAIL_PORT"]) == ("mail.example", port)
    assert (read["EMAIL_HOST_USER"], read["EMAIL_HOST_PASSWORD"]) == ("u", "p:")
    assert (read["EMAIL_USE_TLS"], read["EMAIL_USE_SSL"]) == (starttls, tls)


def test_a_mailbox_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATEPAYER_X", "file:var/mail")
    assert environment.email("RATEPAYER_X", "")["EMAIL_FILE_PATH"] == str(environment.ROOT / "var/mail")
    monkeypatch.setenv("RATEPAYER_X", "imap://mail.example")
    with pytest.raises(ImproperlyConfigured, match="RATEPAYER_X must be smtp"):
        environment.email("RATEPAYER_X", "")


def test_the_keyset_is_its_text_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RATEPAYER_X", '{"primaryKeyId": 1}')
    assert environment.keyset("RATEPAYER_X") == '{"primaryKeyId": 1}'
    (tmp_path / "keyset").write_text("{}")
    monkeypatch.setenv("RATEPAYER_X", str(tmp_path / "keyset"))
    assert environment.keyset("RATEPAYER_X") == "{}"
    monkeypatch.setenv("RATEPAYER_X", str(tmp_path / "missing"))
    with pytest.raises(ImproperlyConfigured, match="RATEPAYER_X names a file that cannot be read"):
        environment.keyset("RATEPAYER_X")


def test_the_demos_variables_are_taken_unless_a_database_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tmp_path / "env"
    kept.write_text("# a comment\nDATABASE_URL=postgresql://a@b/c\nRATEPAYER_X=from=file\nRATEPAYER_Y=file\n")
    monkeypatch.setenv("RATEPAYER_Y", "set")
    monkeypatch.delenv("RATEPAYER_X", raising=False)
    environment.load_demo_environment(kept)
    assert environment.text("RATEPAYER_X", "") == ""
    monkeypatch.delenv("DATABASE_URL")
    environment.load_demo_environment(kept)
    assert environment.text("DATABASE_URL") == "postgresql://a@b/c"
    assert environment.text("RATEPAYER_X") == "from=file"
    assert environment.text("RATEPAYER_Y") == "set"
    monkeypatch.delenv("RATEPAYER_X")


COMPLETE = {
    "SECRET_KEY": "x" * 60,
    "RATEPAYER_KEYSET": "{}",
    "DATABASE_URL": "postgresql://web@db/bills",
    "REDIS_URL": "redis://broker/0",
}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "PUBLIC_URL is not set"),
        ({"PUBLIC_URL": "http://pay.example"}, "PUBLIC_URL must be https:// in production"),
        ({"PUBLIC_URL": "https://pay.example", "DEMO": "1"}, "DEMO=1 turns on simulators"),
        ({"PUBLIC_URL": "https://pay.example", "SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"PUBLIC_URL": "https://pay.example", "DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"PUBLIC_URL": "https://pay.example", "REDIS_URL": "broker"}, "REDIS_URL must be like redis://"),
        ({"PUBLIC_URL": "https://pay.example", "PROXIES": "9"}, "PROXIES must be between 0 and 5"),
    ],
)
def test_settings_refuse_with_a_sentence(variables: dict[str, str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        cwd=environment.ROOT,
        env={**COMPLETE, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"ImproperlyConfigured: {said}" in done.stderr


def test_settings_of_production_have_no_simulators() -> None:
    program = (
        "from config import settings as s;"
        "print(s.PRODUCTION, s.SIMULATED_PROCESSOR_URL or '-', s.SIMULATED_TELEPHONE_URL or '-', s.SIMULATED_RECEIVER_URL or '-');"
        "print(s.SESSION_COOKIE_NAME, s.ALLOWED_HOSTS)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=environment.ROOT,
        env={
            **COMPLETE,
            "PUBLIC_URL": "https://pay.example",
            "SIMULATED_PROCESSOR_URL": "http://127.0.0.1:8101",
            "SIMULATED_TELEPHONE_URL": "http://127.0.0.1:8103",
            "SIMULATED_RECEIVER_URL": "http://127.0.0.1:8104",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True - - -\n__Host-session ['pay.example']"


def test_the_example_lists_every_variable() -> None:
    source = "".join((environment.ROOT / "config" / name).read_text() for name in ("settings.py",))
    import re

    read = set(re.findall(r'environment\.\w+\(\s*"([A-Z_]+)"', source))
    listed = set(re.findall(r"^(?:# )?([A-Z_]{3,})=", (environment.ROOT / ".env.example").read_text(), re.M))
    assert read == listed
