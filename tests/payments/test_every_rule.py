"""Any sequence of what people, runs, processors, banks and dying workers do: the books are those that must be.

One state machine over the public operations (``every_rule``). The simulated processor is a real service with a book of its
own, which says what was truly charged; what our book must say follows from that and from ``second_book``, which is kept from
the requirements alone. After every rule all of what must always hold is checked (``invariants``), and ``check_books``; at the
end recovery works until nothing changes, and what must hold at rest is checked too. Walks lead it by hand through what must
be met in every run.
``docs/reliability.md`` says where each invariant stands, and which broken engines are caught.

``EVERY_RULE_EXAMPLES=200`` runs more of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from payments.models import Case
from tests.payments.every_rule import EveryRule, Walk
from tests.payments.second_book import DAY
from tests.processor import Processor

EXAMPLES = int(os.environ.get("EVERY_RULE_EXAMPLES", "5"))
STEPS = 30
# In the suite the same examples run every time, and what fails is told as it came; whoever asks for more waits for the
# shortest.
SHRINKING = [Phase.shrink] if "EVERY_RULE_EXAMPLES" in os.environ else []


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    with Processor(tmp_path_factory.mktemp("processor")) as running:
        yield running


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-3", "PAY-6", "PAY-9", "PAY-10", "PAY-24", "PAY-32", "PAY-33")
def test_one_walk_meets_every_rule_where_repeats_are_recognised(processor: Processor) -> None:
    with Walk(processor, deduplicates=True, in_batches=True, chunk_size=2) as walk:
        machine = walk.machine
        # One bill in parts, too much, and twice at once; what has no answer is looked up, and what never came is sent again.
        first = walk.pay(3, 1, "half", other="amount")
        lost = walk.pay(3, 1, "all", "late")
        walk.pay(3, 1, "all")
        walk.pay(3, 0, "some")
        machine.a_person_decides(0)
        machine.response_files_are_read(True)
        walk.bill((3, "40.00"))
        walk.pay(3, 1, "half", "drop_before")
        machine.response_files_are_read(True)
        machine.a_person_decides(0)
        machine.time_passes(0, [], False)
        machine.a_person_decides(0)
        machine.recovery_works(None, "recover.resending:1")
        machine.recovery_works(None, "")
        more = walk.pay(3, 1, "more", death="checkpointed:1")
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        # An answer comes again, and another one.
        machine.an_old_answer_comes_again(0, False)
        machine.an_old_answer_comes_again(0, True)
        assert lost != first
        # It goes back: in parts, twice at once, more than there is, and by a dispute that is won.
        walk.give_back(more, "half")
        walk.give_back(first, "more")
        walk.give_back(first, "half", "late")
        walk.give_back(first, "half")
        walk.move(first, "chargeback")
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        walk.move(more, "chargeback", part=True)
        walk.move(more, "chargeback_won")
        # AutoPay: what others hold, what credits cover, what was given back, and what two workers see.
        walk.pay(0, 0, "half", "drop_after")
        walk.pay(2, 0, "more")
        walk.bill((2, "40.00"))
        taken = walk.collect(two=True)
        walk.collect(rebill=True, least="50.00")
        machine.recovery_works(None, "")
        both = walk.pay(0, 0)
        walk.give_back(both, "half")
        walk.give_back(taken)
        walk.collect(1, fault="busy")
        walk.collect(rebill=True, death="settle.recorded:1")
        machine.answered_attempts_take_effect()
        # What was not looked up in time is not sent again.
        walk.bill((3, "40.00"))
        walk.pay(3, 1, "some", "drop_before")
        machine.time_passes(8, [], False)
        machine.recovery_works(None, "")
        assert [one.kind for one in Case.objects.filter(state="open", attempt__in=list(machine.book.tries))] == [
            "unknown"
        ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-5")
def test_one_walk_meets_declines_limits_and_schedules(processor: Processor) -> None:
    with Walk(processor, deduplicates=True, in_batches=False, chunk_size=100) as walk:
        machine = walk.machine
        # A card that two accounts share is out of tries, for AutoPay and for whoever pays; what is in use stays on file.
        machine.a_method_changes(0, 0, "remove")
        machine.autopay_is_declined_for_days(0, "soft_decline", [1], False)
        walk.pay(0, 0, "half")
        # Another one is tried on the days that count from its first decline, and is then set aside until it is confirmed.
        machine.a_method_changes(0, 0, "add")
        walk.give_back(walk.pay(0, 1), "half")
        walk.pay(0, 1)
        machine.autopay_is_turned(0, 1, False)
        machine.autopay_is_declined_for_days(0, "soft_decline", [1, 2], False)
        walk.collect(rebill=True)
        machine.a_bank_thinks_otherwise(0, 1, "hard_decline")
        walk.collect(1, rebill=True)
        walk.collect(1, rebill=True)
        machine.a_bank_thinks_otherwise(0, 1, "approve")
        machine.a_method_changes(0, 1, "confirm")
        walk.collect()
        # What is scheduled: made once, cancelled until then, nothing due, or out of tries.
        walk.schedule(3, 1)
        machine.a_method_changes(3, 1, "remove")
        walk.make(1, "late")
        walk.make(0)
        machine.a_scheduled_payment_is_cancelled(3)
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        walk.bill((3, "61.50"))
        walk.schedule(3, 1, "some")
        machine.a_scheduled_payment_is_cancelled(3)
        machine.a_bank_thinks_otherwise(3, 1, "soft_decline")
        walk.schedule(3, 1)
        machine.time_passes(1, [], False)
        walk.pay(3, 1, "some")
        walk.pay(3, 1, "half")
        walk.make(0, two=True)
        machine.a_bank_thinks_otherwise(3, 1, "approve")
        walk.schedule(3, 1)
        walk.make(1, death="checkpointed:1")
        machine.time_passes(0, [], False)
        machine.recovery_works(None, "")
        walk.bill((3, "40.00"))
        walk.schedule(3, 0)
        walk.pay(3, 0)
        walk.make(1, two=True)
        assert [one.state for one in machine.book.later] == ["paid", "cancelled", "failed", "paid", "nothing_due"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-34", "PAY-35", "PAY-36")
def test_one_walk_meets_bank_debits_and_fees(processor: Processor) -> None:
    with Walk(processor, deduplicates=True, in_batches=True, chunk_size=2) as walk:
        machine = walk.machine
        # A lost connection costs nothing; a return does, and counts as a try of its account.
        machine.a_bank_thinks_otherwise(2, 0, "technical_problem")
        walk.collect()
        machine.a_bank_thinks_otherwise(2, 0, "approve")
        walk.collect()
        walk.move(walk.of(2, "99.99"), "return")
        machine.a_bank_thinks_otherwise(2, 0, "soft_decline")
        walk.pay(2, 0, "half")
        walk.pay(2, 0, "some")
        walk.pay(2, 0, "some")
        machine.a_bank_thinks_otherwise(2, 0, "approve")
        walk.let_a_month_pass()
        # Fees are for late bills too; AutoPay leaves them, and each is taken back once, open or paid.
        machine.late_bills_are_looked_for(0)
        walk.collect(rebill=True)
        walk.waive(2, 0)
        walk.waive(2, 0)
        paid = walk.pay(2, 0)
        walk.waive(2, 1)
        walk.bill((2, "10.00"), (3, "40.00"))
        walk.pay(3, 1, "some", "late")
        machine.late_bills_are_looked_for(4)
        machine.recovery_works(None, "")
        card = walk.pay(3, 1)
        walk.move(card, "return")
        # Set aside by a return for good, which is not for want of money, and by a decline.
        walk.move(paid, "return", "R07")
        walk.collect(rebill=True)
        machine.a_method_changes(2, 0, "confirm")
        machine.a_bank_thinks_otherwise(2, 0, "hard_decline")
        walk.bill((2, "40.00"))
        walk.collect()
        machine.a_bank_thinks_otherwise(2, 0, "approve")
        machine.a_method_changes(2, 0, "confirm")
        walk.let_a_month_pass()
        # A fee is taken back while it is being paid. A debit fails by a person's word, and then by the bank's.
        debit = walk.pay(2, 0, "more", "late")
        walk.waive(2, -1)
        machine.recovery_works(None, "")
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        walk.give_back(debit, "half")
        walk.confirm(debit, "failed")
        walk.move(debit, "return", "R02")
        assert {one.confirmation for one in walk.payments} == {"", "waiting", "failed"}
        assert {bill.fee[0] for _who, bill in machine._fees() if bill.fee} == {"failed", "returned", "late"}
        assert machine.book.losses > 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-7", "PAY-9", "PAY-10", "PAY-34")
def test_one_walk_meets_holds_and_what_stays_unknown(processor: Processor) -> None:
    with Walk(processor, deduplicates=False, in_batches=False, chunk_size=1) as walk:
        machine = walk.machine
        # Holds: not of bank accounts; deposited, released, by hand and by runs, and kept where nobody could be asked.
        walk.hold(3, 0)
        one, two, three = walk.hold(3, 1), walk.hold(3, 1), walk.hold(3, 1)
        walk.end_hold(one, "busy")
        walk.end_hold(one)
        walk.end_hold(one)
        walk.end_hold(two, release=True)
        machine.late_bills_are_looked_for(4)
        machine.holds_are_ended_by_a_run(None, "", 1, True, "deposit")
        late = walk.hold(1, 0, "half")
        machine.holds_are_ended_by_a_run("drop_after", "", 3, False, "release")
        machine.recovery_works(None, "")
        assert walk.payments[late].state == walk.payments[two].state == "failed"
        walk.move(three, "chargeback")
        # Nothing is sent again; what never came is a case, which a person gives up, and what comes then changes nothing.
        walk.pay(3, 1, "half", "drop_before")
        machine.response_files_are_read(True)
        machine.recovery_works(None, "")
        machine.time_passes(0, [], False)
        machine.recovery_works(None, "")
        machine.a_person_decides(0)
        machine.an_old_answer_comes_again(0, False)
        machine.an_old_answer_comes_again(0, True)
        machine.an_old_answer_comes_again(-1, False)
        machine.an_old_answer_comes_again(-1, True)
        walk.pay(1, 0, "half", "late")
        machine.time_passes(0, [], False)
        machine.recovery_works(None, "")
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        # Bank debits: good after their days and not before, by a person's word, and failed by one.
        walk.collect(death="checkpointed:1")
        machine.response_files_are_read(True)
        machine.time_passes(0, [], False)
        machine.response_files_are_read(True)
        for wanted in ("some", "some", "some", "half"):
            walk.pay(2, 0, wanted)
        walk.confirm(walk.last, "by a person")
        walk.confirm(walk.last, "failed")
        walk.confirm(walk.last - 1, "failed")
        walk.move(walk.last - 1, "return")
        walk.give_back(walk.last - 2)
        machine.a_debit_is_confirmed(5, False, 0, "in time")
        machine.a_debit_is_confirmed(5, False, 0, "in time")
        machine.a_debit_is_confirmed(0, True, 0, "in time")
        # Over a weekend they wait longer.
        machine._pass((4 - machine.today.weekday()) % 7 * DAY)
        walk.collect(rebill=True)
        for _ in range(6):
            machine.a_debit_is_confirmed(1, True, 0, "in time")


@pytest.mark.django_db(transaction=True)
def test_one_walk_meets_a_household_that_is_charged_at_once(processor: Processor) -> None:
    with Walk(processor, deduplicates=False, in_batches=False, chunk_size=1, household="card") as walk:
        machine = walk.machine
        # What has no answer is all of it without one; what is found out, and what goes back, is of each account.
        walk.collect(fault="drop_after")
        walk.collect(rebill=True)
        machine.late_bills_are_looked_for(4)
        machine.recovery_works(None, "")
        mine, others = walk.of(0, "40.00"), walk.of(1, "61.50")
        assert walk.payments[mine].mates == walk.payments[others].mates != [walk.payments[mine]]
        walk.give_back(others, "half")
        walk.move(mine, "chargeback", part=True)
        walk.move(others, "chargeback_won", part=True)
        walk.move(others, "chargeback")
        # Declined at once, which is one decline and one fee; and given up at once.
        machine.a_bank_thinks_otherwise(1, 0, "soft_decline")
        walk.bill((0, "3.00"), (1, "8.00"))
        walk.collect(two=True)
        machine.a_bank_thinks_otherwise(1, 0, "approve")
        walk.collect(1, fault="drop_before")
        machine.time_passes(0, [], False)
        machine.recovery_works(None, "")
        machine.a_person_decides(0)
        walk.collect()
        machine.a_bank_thinks_otherwise(1, 0, "hard_decline")
        walk.bill((0, "6.00"), (1, "7.00"))
        walk.collect()
        assert [who for who, bill in machine._fees() if bill.fee and bill.fee[0] == "failed"] == [0]
        machine.a_bank_thinks_otherwise(1, 0, "approve")
        machine.a_method_changes(0, 0, "confirm")
        machine.a_method_changes(1, 0, "confirm")
        walk.bill((0, "40.00"), (1, "40.00"))
        walk.pay(0, 0, "half")
        walk.collect(death="checkpointed:1")
        machine.response_files_are_read(True)
        machine.time_passes(0, [], False)
        machine.response_files_are_read(True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-32", "PAY-35", "PAY-36")
def test_one_walk_meets_a_household_whose_debit_is_returned_and_accounts_that_are_not_served(
    processor: Processor,
) -> None:
    with Walk(processor, deduplicates=True, in_batches=True, chunk_size=100, household="bank") as walk:
        machine = walk.machine
        # A person says of one part that it failed; the bank then returns all of it, and what is charged for that is charged once.
        walk.collect()
        mine, others = walk.of(0, "40.00"), walk.of(1, "61.50")
        assert walk.payments[mine].mates == walk.payments[others].mates != [walk.payments[mine]]
        walk.confirm(others, "failed")
        assert [bill for _who, bill in machine._fees()] == []
        walk.move(mine, "return", told=True)
        assert [(bill.fee, bill.amount) for _who, bill in machine._fees()] == [
            (("returned", walk.payments[others].id), Decimal("5.00"))
        ]
        # A person knows the bank's code: it is charged for at once, and not again when the bank says so.
        walk.bill((0, "16.00"), (1, "17.00"))
        walk.collect()
        walk.confirm(walk.of(1, "17.00"), "R01")
        assert [str(bill.amount) for _who, bill in machine._fees()] == ["5.00", "3.30"]
        # Each such charge counts as a try of the account, whichever part of it failed.
        walk.bill((0, "6.00"), (1, "7.00"))
        walk.collect()
        walk.confirm(walk.of(1, "7.00"), "failed")
        tried = walk.last
        assert walk.pay(0, 0, "some") == tried
        walk.move(walk.of(0, "16.00"), "return")
        walk.move(walk.of(0, "16.00"), "return")
        assert len(machine._fees()) == 2
        # What was given back before the bank returned all of it is lost; a return for good sets both methods aside.
        walk.let_a_month_pass()
        walk.bill((0, "8.00"), (1, "9.00"))
        walk.collect(fault="drop_after")
        machine.a_processor_tells(0, False)
        walk.give_back(walk.of(0, "8.00"), "half", "drop_after")
        machine.a_processor_tells(0, True)
        walk.move(walk.of(1, "9.00"), "return", "R07")
        assert machine.book.losses == Decimal("4.00")
        walk.bill((0, "40.00"), (1, "40.00"))
        walk.collect()
        # Who is late with much is served no more, and collected from by runs of their own; a bill does that once.
        walk.bill((2, "99.99"), (3, "61.50"))
        machine.late_bills_are_looked_for(4)
        assert machine.book.status == dict.fromkeys([1, 2, 3], "inactive")
        walk.collect(rebill=True)
        machine.an_account_is_served_otherwise(3, "active")
        machine.late_bills_are_looked_for(1)
        assert machine.book.status[3] == "active"
        taken = walk.collect(rebill=True, status="inactive")
        assert walk.payments[taken].who == 2
        machine.an_account_is_served_otherwise(2, "closed")
        walk.bill((2, "61.50"))
        walk.collect(rebill=True, status="inactive")
        machine.late_bills_are_looked_for(4)
        assert (walk.last, machine.book.status[2]) == (taken, "closed")


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-18")
def test_one_walk_meets_bank_accounts_that_are_verified_again(processor: Processor) -> None:
    with Walk(processor, deduplicates=True, in_batches=False, chunk_size=100, verifies_again=True) as walk:
        machine = walk.machine
        machine.time_passes(8, [], False)
        before = walk.pay(3, 0, "some")
        # Their ten days are over: nobody is charged by an account that may not be good, whoever asks for it.
        machine.time_passes(3, [], False)
        walk.bill((2, "40.00"))
        machine.a_bank_thinks_otherwise(2, 0, "technical_problem")
        machine.a_bank_thinks_otherwise(3, 0, "technical_problem")
        walk.pay(2, 0, "some")
        walk.schedule(3, 0)
        assert walk.collect(rebill=True) > before
        assert {one.who for one in walk.payments[before + 1 :]} == {0, 1}
        made = walk.last
        walk.make(1)
        assert (walk.last, machine.book.later[0].state) == (made, "scheduled")
        # Once they are good they are charged, and not asked about again for ten days.
        machine.a_bank_thinks_otherwise(2, 0, "approve")
        machine.a_bank_thinks_otherwise(3, 0, "approve")
        walk.make(0)
        walk.collect(rebill=True)
        assert [one.who for one in walk.payments[made + 1 :]] == [3, 2, 2, 2]
        machine.time_passes(8, [(2, "40.00")], False)
        machine.a_bank_thinks_otherwise(2, 0, "technical_problem")
        last = walk.last
        assert walk.collect(rebill=True) > last
        # One that is not good for good is set aside.
        machine.time_passes(3, [(2, "40.00")], False)
        machine.a_bank_thinks_otherwise(2, 0, "hard_decline")
        last = walk.last
        walk.collect(rebill=True)
        assert (walk.last, machine.book.cards[2][0].state) == (last, "bad")


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-3", "PAY-6", "PAY-32")
def test_no_sequence_of_rules_breaks_the_books(processor: Processor) -> None:
    machine = type("Machine", (EveryRule,), {"processor": processor})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=not SHRINKING,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, *SHRINKING], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
