"""The audit trail: appended in the transaction that made it true, unchangeable, and sealed."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connections, transaction

from billing import audit
from billing.actors import Actor
from billing.models import AuditEntry, Seal
from tests.factories import make_biller

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def write(count: int) -> None:
    biller = make_biller()
    with transaction.atomic():
        for number in range(count):
            audit.record(
                actor=Actor.system("test"), event="run.started", biller_id=biller.pk, facts={"kind": f"kind {number}"}
            )


def test_entry_outside_of_a_transaction_is_refused() -> None:
    with pytest.raises(RuntimeError):
        audit.record(actor=Actor.system("test"), event="run.started")
    assert AuditEntry.objects.count() == 0


def test_entry_goes_with_its_transaction() -> None:
    with transaction.atomic():
        audit.record(actor=Actor.system("test"), event="run.started")
        transaction.set_rollback(True)
    assert AuditEntry.objects.count() == 0


def test_entries_cannot_be_changed_or_deleted_by_the_application() -> None:
    write(1)
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditEntry.objects.update(actor="somebody else")
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditEntry.objects.all().delete()
    assert AuditEntry.objects.get().actor == "test"


def test_sentence_names_the_facts() -> None:
    write(1)
    assert audit.sentence(AuditEntry.objects.get()) == "Started a kind 0 run"


def test_seals_chain_and_cover_every_entry_once() -> None:
    write(3)
    first = audit.seal()
    assert first is not None
    assert first.count == 3
    assert audit.seal() is None
    write(2)
    second = audit.seal()
    assert second is not None
    assert (second.count, second.first, second.previous) == (2, first.last + 1, first.digest)
    assert list(audit.broken_seals()) == []


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE billing_auditentry SET actor = 'somebody else' WHERE id = (SELECT min(id) FROM billing_auditentry)",
        "UPDATE billing_auditentry SET facts = '{}' WHERE id = (SELECT max(id) FROM billing_auditentry)",
        "DELETE FROM billing_auditentry WHERE id = (SELECT min(id) + 1 FROM billing_auditentry)",
        "UPDATE billing_seal SET digest = md5('x') WHERE id = (SELECT min(id) FROM billing_seal)",
    ],
)
def test_tampering_breaks_the_seal(tampering: str) -> None:
    write(3)
    audit.seal()
    write(1)
    audit.seal()
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "ALTER TABLE billing_auditentry DISABLE TRIGGER append_only;"
            "ALTER TABLE billing_seal DISABLE TRIGGER append_only"
        )
        try:
            cursor.execute(tampering)
            touched = cursor.rowcount
        finally:
            cursor.execute(
                "ALTER TABLE billing_auditentry ENABLE TRIGGER append_only;"
                "ALTER TABLE billing_seal ENABLE TRIGGER append_only"
            )
    assert touched == 1
    assert len(list(audit.broken_seals())) > 0


def test_entries_of_a_transaction_that_still_runs_are_left_for_the_next_seal() -> None:
    write(1)
    # Another session of the application has taken an id and not committed it.
    slow = connections.create_connection("default")
    try:
        slow.set_autocommit(False)
        with slow.cursor() as cursor:
            cursor.execute(
                "INSERT INTO billing_auditentry (event, requestor, actor, subject, facts)"
                " VALUES ('run.started', 4, 'slow', '', '{}')"
            )
        write(1)
        sealed = audit.seal()
        assert sealed is not None
        assert sealed.count == 1
        slow.commit()
    finally:
        slow.close()
    audit.seal()
    assert sum(Seal.objects.values_list("count", flat=True)) == 3
    assert list(audit.broken_seals()) == []
