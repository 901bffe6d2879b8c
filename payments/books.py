"""The proof of the books: the engine's invariants as SQL over whole tables, for any moment at any size.

Each check compares two things that were written apart. ``manage.py check_books`` prints them; the suite runs them after
everything that moves money. Source: the design's invariants by their numbers, as far as stored rows tell (``docs/reliability.md``
has the table of all of them), and the references that PostgreSQL is told not to enforce row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection, transaction


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant. ``counted`` counts what it covers; ``wrong`` gives a line of text for each row that breaks it."""

    number: str
    says: str
    counted: str
    wrong: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: how many rows it covered, how many break it, and the first few of those in words."""

    check: Check
    counted: int
    wrong: int
    examples: tuple[str, ...]


# Not enforced by PostgreSQL for the engine's own rows: (table, column, target).
REFERENCES = [
    ("payments_payment", "instrument_id", "payments_instrument"),
    ("payments_payment", "route_id", "payments_route"),
    ("payments_payment", "posting_id", "billing_posting"),
    ("payments_payment", "run_id", "billing_run"),
    ("payments_payment", "chunk_id", "billing_chunk"),
    ("payments_attempt", "payment_id", "payments_payment"),
    ("payments_attempt", "route_id", "payments_route"),
    ("payments_allocation", "payment_id", "payments_payment"),
    ("payments_allocation", "item_id", "billing_item"),
    ("payments_case", "attempt_id", "payments_attempt"),
    ("payments_scheduledpayment", "payment_id", "payments_payment"),
    ("payments_reversal", "posting_id", "billing_posting"),
    ("payments_payment", "customer_id", "billing_customer"),
    ("billing_notice", "customer_id", "billing_customer"),
    ("datapump_record", "customer_id", "billing_customer"),
    ("datapump_record", "endpoint_id", "datapump_endpoint"),
    ("billing_item", "posting_id", "billing_posting"),
    ("datapump_delivery", "record_id", "datapump_record"),
    ("datapump_envelope", "endpoint_id", "datapump_endpoint"),
]
# What they name may have been aged out; where it is there, it is of the same biller.
AGEING_REFERENCES = [("datapump_delivery", "envelope_id", "datapump_envelope")]

_ALLOCATED = """
    SELECT item_id, sum(amount) FILTER (WHERE state = 'posted') AS posted,
           sum(amount) FILTER (WHERE state = 'pending') AS pending
    FROM payments_allocation GROUP BY item_id"""

CHECKS = [
    Check(
        "1",
        "Nothing is settled beyond its amount",
        "SELECT count(*) FROM billing_item",
        """SELECT 'item ' || id FROM billing_item WHERE
           CASE WHEN amount > 0 THEN allocated < 0 OR transferred < 0 OR allocated + transferred > amount
                ELSE allocated > 0 OR transferred > 0 OR allocated + transferred < amount END""",
    ),
    Check(
        "2",
        "Nothing is reserved beyond what is open",
        "SELECT count(*) FROM billing_item WHERE amount > 0",
        "SELECT 'item ' || id FROM billing_item WHERE amount > 0 AND (reserved < 0 OR reserved > open)",
    ),
    Check(
        "3",
        # A credit that a newer bill carries has left the customer's open items, not the payment.
        "Each payment is allocated in full or leaves a credit",
        "SELECT count(*) FROM payments_payment",
        """SELECT 'payment ' || p.id FROM payments_payment p
           LEFT JOIN (SELECT payment_id, sum(amount) FILTER (WHERE state = 'posted') AS posted,
                             sum(amount) FILTER (WHERE state <> 'void') AS live
                      FROM payments_allocation GROUP BY payment_id) a ON a.payment_id = p.id
           LEFT JOIN (SELECT payment_id, sum(open + transferred) AS open FROM billing_item
                      WHERE payment_id IS NOT NULL GROUP BY payment_id) c ON c.payment_id = p.id
           LEFT JOIN (SELECT payment_id, sum(charged) AS charged FROM payments_reversal WHERE state = 'done'
                      GROUP BY payment_id) r ON r.payment_id = p.id
           WHERE coalesce(a.live, 0) > p.amount
              -- What went back no longer pays; what became due by itself was taken from nothing.
              OR (p.state IN ('posted', 'reversed') AND p.amount - coalesce(p.undone, 0) - coalesce(a.posted, 0)
                                                        <> -coalesce(c.open, 0) - coalesce(r.charged, 0))
              OR (p.state = 'failed' AND coalesce(a.live, 0) <> 0)
              OR (p.state IN ('processing', 'authorized') AND coalesce(a.posted, 0) <> 0)""",
    ),
    Check(
        "4",
        "What items say is allocated and reserved is what allocations say",
        "SELECT count(*) FROM billing_item",
        f"""SELECT 'item ' || i.id FROM billing_item i LEFT JOIN ({_ALLOCATED}) a ON a.item_id = i.id
            WHERE i.payment_id IS NULL
              AND (i.allocated <> coalesce(a.posted, 0) OR i.reserved <> coalesce(a.pending, 0))""",
    ),
    Check(
        "5",
        "Each customer's balance is the sum of what is open",
        "SELECT count(*) FROM billing_customer",
        """SELECT 'customer ' || c.id FROM billing_customer c
           LEFT JOIN (SELECT customer_id, sum(open) AS open FROM billing_item GROUP BY customer_id) i ON i.customer_id = c.id
           WHERE c.balance <> coalesce(i.open, 0)""",
    ),
    Check(
        "6",
        "Each posting balances in every currency",
        "SELECT count(*) FROM billing_posting",
        """SELECT 'posting ' || posting_id FROM billing_entry
           GROUP BY posting_id, currency HAVING sum(amount) <> 0""",
    ),
    Check(
        "7",
        "The receivable account is the sum of open items",
        "SELECT count(*) FROM billing_biller",
        """SELECT 'biller ' || b.id || ': ' || coalesce(e.total, 0) || ' booked, ' || coalesce(i.total, 0) || ' open'
           FROM billing_biller b
           LEFT JOIN (SELECT biller_id, sum(amount) AS total FROM billing_entry WHERE account = 'receivable'
                      GROUP BY biller_id) e ON e.biller_id = b.id
           LEFT JOIN (SELECT biller_id, sum(open) AS total FROM billing_item GROUP BY biller_id) i ON i.biller_id = b.id
           WHERE coalesce(e.total, 0) <> coalesce(i.total, 0)""",
    ),
    Check(
        "adjusted",
        "The adjustments account is the sum of adjustments, and each of them says why",
        "SELECT count(*) FROM billing_adjustment",
        """SELECT 'biller ' || coalesce(e.biller_id, i.biller_id) FROM
           (SELECT biller_id, -sum(amount) AS total FROM billing_entry WHERE account = 'adjustments' GROUP BY 1) e
           FULL JOIN (SELECT biller_id, sum(amount) AS total FROM billing_item WHERE kind = 'adjustment' GROUP BY 1) i
             ON i.biller_id = e.biller_id
           WHERE coalesce(e.total, 0) <> coalesce(i.total, 0)
           UNION ALL
           SELECT 'item ' || coalesce(i.id, a.item_id) FROM (SELECT * FROM billing_item WHERE kind = 'adjustment') i
           FULL JOIN billing_adjustment a ON a.item_id = i.id AND a.customer_id = i.customer_id
           WHERE i.id IS NULL OR a.id IS NULL""",
    ),
    Check(
        "48",
        "The account of charged fees is the sum of fees and waivers, each of them an item, and one fee for a payment and rule",
        "SELECT count(*) FROM payments_fee",
        """SELECT 'biller ' || coalesce(e.biller_id, i.biller_id) FROM
           (SELECT biller_id, -sum(amount) AS total FROM billing_entry WHERE account = 'charged_fees' GROUP BY 1) e
           FULL JOIN (SELECT biller_id, sum(amount) AS total FROM billing_item WHERE kind = 'fee' GROUP BY 1) i
             ON i.biller_id = e.biller_id
           WHERE coalesce(e.total, 0) <> coalesce(i.total, 0)
           UNION ALL
           SELECT 'item ' || coalesce(i.id, f.item_id) FROM (SELECT * FROM billing_item WHERE kind = 'fee') i
           FULL JOIN (SELECT item_id, customer_id, 1 AS sign FROM payments_fee
                      UNION ALL SELECT w.item_id, w.customer_id, -1 FROM payments_feewaiver w) f
             ON f.item_id = i.id AND f.customer_id = i.customer_id
           WHERE i.id IS NULL OR f.item_id IS NULL OR sign(i.amount) <> f.sign
           UNION ALL
           SELECT 'fee ' || f.id FROM payments_fee f JOIN billing_item i ON i.id = f.item_id
           JOIN payments_feewaiver w ON w.fee_id = f.id JOIN billing_item j ON j.id = w.item_id
           WHERE j.amount <> -i.amount OR w.customer_id <> f.customer_id OR w.set_off > least(i.transferred, -j.transferred)
           UNION ALL
           SELECT 'payment ' || payment_id FROM payments_fee WHERE payment_id IS NOT NULL
           GROUP BY payment_id, rule_id HAVING count(*) > 1
           UNION ALL
           SELECT 'late bill ' || min(id::text) FROM payments_latebill GROUP BY invoice_id, rule_id HAVING count(*) > 1
           UNION ALL
           -- A payment that is charged for failed by a decision, or went back.
           SELECT 'payment ' || p.id FROM payments_fee f JOIN payments_payment p ON p.id = f.payment_id
           WHERE p.biller_id <> f.biller_id OR p.customer_id <> f.customer_id
              OR (p.state = 'failed' AND p.result = ANY (ARRAY[0, 1, 2, 3, 4, 6, 9, 10, 11, 12, 13, 14, 15, 16, 17]))
              OR (p.state <> 'failed' AND NOT EXISTS (SELECT FROM payments_reversal r WHERE r.payment_id = p.id
                                                      AND r.kind = 'return' AND r.state = 'done'))""",
    ),
    Check(
        "8",
        "The suspense account is the sum of suspended payments",
        "SELECT count(*) FROM billing_biller",
        # No payment can be suspended yet, so the account must be empty.
        """SELECT 'biller ' || biller_id FROM billing_entry WHERE account = 'suspense'
           GROUP BY biller_id HAVING sum(amount) <> 0""",
    ),
    Check(
        "9",
        "The clearing account of each route and tender is the sum of its payments with their fees, less what went back",
        "SELECT count(*) FROM payments_route",
        """SELECT 'route ' || coalesce(e.route_id, p.route_id, 0) || ' ' || coalesce(e.tender, p.tender)
           FROM (SELECT e.biller_id, route_id, tender, sum(amount) AS total, sum(count) FILTER (WHERE g.kind = 'receipts') AS n
                 FROM billing_entry e JOIN billing_posting g ON g.id = e.posting_id
                 WHERE account = 'clearing' GROUP BY 1, 2, 3) e
           FULL JOIN (SELECT p.biller_id, p.route_id, p.tender, sum(p.amount + p.fee - coalesce(r.back, 0)) AS total, count(*) AS n
                      FROM payments_payment p
                      LEFT JOIN (SELECT payment_id, sum(CASE kind WHEN 'won' THEN -1 ELSE 1 END * (amount + fee + loss)) AS back
                                 FROM payments_reversal WHERE state = 'done' GROUP BY 1) r ON r.payment_id = p.id
                      WHERE p.state IN ('posted', 'reversed') GROUP BY 1, 2, 3) p
             ON p.biller_id = e.biller_id AND coalesce(p.route_id, 0) = coalesce(e.route_id, 0) AND p.tender = e.tender
           WHERE coalesce(e.total, 0) <> coalesce(p.total, 0) OR coalesce(e.n, 0) <> coalesce(p.n, 0)""",
    ),
    Check(
        "fees",
        "The fee account of each route and tender is the sum of its payments' fees, less what went back",
        "SELECT count(*) FROM payments_payment WHERE fee > 0",
        """SELECT 'route ' || coalesce(e.route_id, p.route_id) || ' ' || coalesce(e.tender, p.tender)
           FROM (SELECT e.biller_id, route_id, tender, -sum(amount) AS total, sum(count) FILTER (WHERE g.kind = 'receipts') AS n
                 FROM billing_entry e JOIN billing_posting g ON g.id = e.posting_id
                 WHERE account = 'fees' GROUP BY 1, 2, 3) e
           FULL JOIN (SELECT p.biller_id, p.route_id, p.tender, sum(p.fee - coalesce(r.back, 0)) AS total, count(*) AS n
                      FROM payments_payment p
                      LEFT JOIN (SELECT payment_id, sum(CASE kind WHEN 'won' THEN -fee ELSE fee END) AS back
                                 FROM payments_reversal WHERE state = 'done' GROUP BY 1) r ON r.payment_id = p.id
                      WHERE p.state IN ('posted', 'reversed') AND p.fee > 0 GROUP BY 1, 2, 3) p
             ON p.biller_id = e.biller_id AND p.route_id = e.route_id AND p.tender = e.tender
           WHERE coalesce(e.total, 0) <> coalesce(p.total, 0) OR coalesce(e.n, 0) <> coalesce(p.n, 0)""",
    ),
    Check(
        "10",
        "Debits equal credits, and the journal cannot be changed",
        "SELECT count(*) FROM billing_entry",
        """SELECT 'currency ' || currency FROM billing_entry GROUP BY currency HAVING sum(amount) <> 0
           UNION ALL
           SELECT 'no guard on ' || t FROM unnest(ARRAY['billing_entry', 'billing_posting']) t WHERE NOT EXISTS (
               SELECT 1 FROM pg_trigger WHERE tgrelid = t::regclass AND tgname = 'append_only' AND tgenabled <> 'D')""",
    ),
    Check(
        "11",
        "Amounts are positive and in the biller's currency",
        "SELECT count(*) FROM payments_payment",
        """SELECT 'payment ' || p.id FROM payments_payment p JOIN billing_biller b ON b.id = p.biller_id
           WHERE p.amount <= 0 OR p.fee < 0 OR p.currency <> b.currency
           UNION ALL SELECT 'allocation ' || id FROM payments_allocation WHERE amount <= 0
           UNION ALL SELECT 'item ' || i.id FROM billing_item i JOIN billing_biller b ON b.id = i.biller_id
           WHERE i.amount = 0 OR i.currency <> b.currency""",
    ),
    Check(
        "once",
        "A payment is posted exactly when one of its attempts passed, and one alone",
        "SELECT count(*) FROM payments_attempt",
        """SELECT 'payment ' || p.id FROM payments_payment p
           LEFT JOIN (SELECT payment_id,
                             count(*) FILTER (WHERE state = 'applied' AND result = 0
                                              AND command NOT IN ('authorize', 'release', 'refund')) AS passed,
                             count(*) FILTER (WHERE state = 'applied' AND result = 0 AND command = 'authorize') AS held,
                             count(*) FILTER (WHERE state IN ('open', 'answered') AND command <> 'refund') AS live
                      FROM payments_attempt GROUP BY payment_id) a ON a.payment_id = coalesce(p.group_id, p.id)
           -- What was taken elsewhere has no route and no attempt.
           WHERE p.route_id IS NOT NULL
             AND ((p.state IN ('posted', 'reversed')) <> (coalesce(a.passed, 0) = 1)
                  OR coalesce(a.passed, 0) > 1 OR (p.state = 'processing') <> (coalesce(a.live, 0) = 1)
                  OR (p.state = 'authorized' AND coalesce(a.held, 0) <> 1))""",
    ),
    Check(
        "held",
        "Each authorized payment has a live authorization, and what has ended has none",
        "SELECT count(*) FROM payments_authorization",
        """SELECT 'payment ' || coalesce(z.payment_id, p.id) FROM payments_authorization z
           FULL JOIN (SELECT id, biller_id, customer_id, state FROM payments_payment) p ON p.id = z.payment_id
           WHERE (z.payment_id IS NULL AND p.state = 'authorized')
              OR (z.payment_id IS NOT NULL AND
                  ((z.ended_at IS NULL) <> coalesce(p.state IN ('processing', 'authorized'), false)
                   OR z.biller_id <> p.biller_id OR z.customer_id <> p.customer_id
                   OR (z.expired AND p.state NOT IN ('posted', 'reversed'))))""",
    ),
    Check(
        "unconfirmed",
        "What waits to be confirmed is posted, and what failed before it was confirmed is reversed and of that pay type",
        "SELECT count(*) FROM payments_unconfirmedpayment",
        """SELECT 'payment ' || coalesce(u.payment_id, p.id) FROM payments_unconfirmedpayment u
           FULL JOIN (SELECT id, biller_id, customer_id, state, other_type_id FROM payments_payment) p ON p.id = u.payment_id
           WHERE (u.payment_id IS NULL AND p.other_type_id = 10017)
              OR (u.payment_id IS NOT NULL AND
                  (p.biller_id IS DISTINCT FROM u.biller_id OR p.customer_id IS DISTINCT FROM u.customer_id
                   OR (u.state = 'waiting' AND p.state <> 'posted')
                   OR (u.state = 'failed') <> (p.other_type_id IS NOT DISTINCT FROM 10017)
                   OR (u.state = 'given_back' AND p.state <> 'reversed')))""",
    ),
    Check(
        "sched",
        "A scheduled payment that was made has exactly one payment, and every other one has taken nothing",
        "SELECT count(*) FROM payments_scheduledpayment",
        # A payment names its scheduled payment in its request key, once for each try.
        """SELECT 'scheduled ' || coalesce(s.id::text, p.of) FROM payments_scheduledpayment s
           FULL JOIN (SELECT split_part(request_key, ':', 2) AS of, count(*) AS tries,
                             max(amount) FILTER (WHERE state <> 'failed') AS most,
                             count(*) FILTER (WHERE state IN ('posted', 'reversed')) AS posted,
                             count(*) FILTER (WHERE state IN ('processing', 'authorized')) AS live,
                             array_agg(id) AS ids, min(customer_id) AS first, max(customer_id) AS last
                      FROM payments_payment WHERE channel = 4 GROUP BY 1) p ON p.of = s.id::text
           WHERE s.id IS NULL
              OR s.tries <> coalesce(p.tries, 0)
              OR (s.state = 'paid') <> (coalesce(p.posted, 0) = 1) OR coalesce(p.posted, 0) > 1
              OR (s.state = 'processing') <> (coalesce(p.live, 0) = 1) OR coalesce(p.live, 0) > 1
              OR (p.of IS NOT NULL AND (s.payment_id <> ALL (p.ids) OR p.first <> s.customer_id OR p.last <> s.customer_id))
              OR (NOT s.whole AND p.most > s.amount)""",
    ),
    Check(
        "asked",
        "The processor is asked for the amount of the payment with its fee, or of all payments of its group",
        "SELECT count(*) FROM payments_attempt",
        """SELECT 'attempt ' || a.id FROM payments_attempt a JOIN payments_payment p ON p.id = a.payment_id
           LEFT JOIN (SELECT group_id, sum(amount + fee) AS total, count(*) AS n FROM payments_payment
                      WHERE group_id IS NOT NULL GROUP BY group_id) g ON g.group_id = p.group_id
           LEFT JOIN payments_reversal r ON r.attempt_id = a.id
           WHERE CASE a.command WHEN 'refund' THEN r.id IS NULL OR r.payment_id <> p.id OR a.covers <> 1
                                                   OR a.amount <> r.amount + r.fee + r.loss
                 ELSE r.id IS NOT NULL OR a.amount <> coalesce(g.total, p.amount + p.fee) OR a.covers <> coalesce(g.n, 1)
                      OR p.id <> coalesce(p.group_id, p.id) END""",
    ),
    Check(
        "grouped",
        "Payments of a group are of several accounts, were made by one run through one route, and ended alike",
        "SELECT count(DISTINCT group_id) FROM payments_payment WHERE group_id IS NOT NULL",
        """SELECT 'group ' || group_id FROM payments_payment WHERE group_id IS NOT NULL
           GROUP BY group_id HAVING count(DISTINCT customer_id) < 2 OR count(DISTINCT run_id) <> 1
              OR count(DISTINCT route_id) <> 1 OR count(DISTINCT biller_id) <> 1 OR NOT bool_or(id = group_id)
              OR count(DISTINCT CASE state WHEN 'reversed' THEN 'posted' ELSE state END) > 1""",
    ),
    Check(
        "live",
        "Every unfinished attempt is marked, and nothing else is",
        "SELECT count(*) FROM payments_checkpoint",
        """SELECT 'attempt ' || coalesce(a.id, k.attempt_id) FROM payments_checkpoint k
           FULL JOIN (SELECT t.id, coalesce(m.id, t.payment_id) AS payment_id FROM payments_attempt t
                      LEFT JOIN payments_payment m ON m.group_id = t.payment_id AND t.covers > 1
                      WHERE t.state IN ('open', 'answered')) a
             ON a.id = k.attempt_id AND a.payment_id = k.payment_id
           WHERE a.id IS NULL OR k.attempt_id IS NULL""",
    ),
    Check(
        "14",
        "The attempts of each payment are numbered without gaps",
        "SELECT count(*) FROM payments_attempt",
        """SELECT 'payment ' || payment_id FROM payments_attempt
           GROUP BY payment_id HAVING min(sequence) <> 1 OR max(sequence) <> count(*)
           UNION ALL
           SELECT 'payment ' || payment_id || ' ' || sequence FROM payments_attempt WHERE sequence > 1
           GROUP BY payment_id, sequence HAVING count(*) > 1""",
    ),
    Check(
        "15",
        "An attempt follows others only when they have ended, a deposit or release a hold, and a refund what was taken",
        "SELECT count(*) FROM payments_attempt WHERE sequence > 1 OR command IN ('deposit', 'release', 'refund')",
        """SELECT 'attempt ' || id FROM (
               SELECT id, command, bool_or(state IN ('open', 'answered')) OVER before AS unfinished,
                      coalesce(bool_or(state = 'applied' AND result = 0 AND command IN ('charge', 'deposit')) OVER before,
                               false) AS taken,
                      coalesce(bool_or(state = 'applied' AND result = 0 AND command = 'authorize') OVER before, false)
                      AND NOT coalesce(bool_or(state = 'applied' AND result = 0 AND command = 'release') OVER before, false) AS held
               FROM payments_attempt WHERE payment_id IN (
                   SELECT payment_id FROM payments_attempt WHERE sequence > 1 OR command IN ('deposit', 'release', 'refund'))
               WINDOW before AS (PARTITION BY payment_id ORDER BY sequence
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
           ) a WHERE unfinished OR (command IN ('deposit', 'release') AND NOT held) OR (taken <> (command = 'refund')
              -- Of a group the charge is the first payment's.
              AND NOT (command = 'refund' AND EXISTS (SELECT FROM payments_payment p JOIN payments_attempt m ON m.id = a.id
                                                      WHERE p.id = m.payment_id AND p.group_id <> p.id)))""",
    ),
    Check(
        "17",
        "What has ended says when it was answered or given up, and what is open does not",
        "SELECT count(*) FROM payments_attempt",
        "SELECT 'attempt ' || id FROM payments_attempt WHERE (state = 'open') <> (answered_at IS NULL)",
    ),
    Check(
        "told",
        "Each posted payment has the record that tells of it, if the biller wants to hear of payments",
        "SELECT count(*) FROM datapump_record WHERE type = 1",
        """SELECT 'record ' || r.id FROM datapump_record r LEFT JOIN payments_payment p ON p.id = r.id
           WHERE r.type = 1 AND (p.id IS NULL OR p.state NOT IN ('posted', 'reversed')
                                 OR (r.facts->>'amount')::numeric <> p.amount OR r.customer_id <> p.customer_id)""",
    ),
    Check(
        "27",
        "A reversed payment holds and pays nothing",
        "SELECT count(*) FROM payments_payment WHERE state = 'reversed'",
        """SELECT 'payment ' || p.id FROM payments_payment p JOIN payments_allocation a ON a.payment_id = p.id
           WHERE p.state = 'reversed' AND a.state <> 'void'""",
    ),
    Check(
        "28",
        "What went back of each payment is within it, and is the sum of its reversals",
        "SELECT count(*) FROM payments_reversal",
        """SELECT 'payment ' || coalesce(p.id, r.payment_id) FROM
           (SELECT * FROM payments_payment WHERE undone IS NOT NULL OR state = 'reversed') p
           FULL JOIN (SELECT payment_id, sum(CASE kind WHEN 'won' THEN -amount ELSE amount END) AS back,
                             count(DISTINCT biller_id) + count(DISTINCT customer_id) AS owners, min(customer_id) AS customer_id
                      FROM payments_reversal WHERE state = 'done' GROUP BY 1) r ON r.payment_id = p.id
           WHERE p.id IS NULL OR r.payment_id IS NULL OR p.undone <> r.back OR r.owners <> 2 OR r.customer_id <> p.customer_id
              OR (p.state = 'reversed') <> (p.undone = p.amount) OR p.state NOT IN ('posted', 'reversed')
           UNION ALL
           SELECT 'reversal ' || r.id FROM payments_reversal r LEFT JOIN payments_attempt a ON a.id = r.attempt_id
           WHERE (r.state = 'processing') <> coalesce(a.state IN ('open', 'answered'), false)
              OR (r.attempt_id IS NOT NULL AND r.state = 'done') <> coalesce(a.state = 'applied' AND a.result = 0, false)
           UNION ALL
           SELECT 'losses of biller ' || coalesce(e.biller_id, r.biller_id) FROM
           (SELECT biller_id, sum(amount) AS total FROM billing_entry WHERE account = 'losses' GROUP BY 1) e
           FULL JOIN (SELECT biller_id, sum(CASE kind WHEN 'won' THEN -loss ELSE loss END) AS total FROM payments_reversal
                      WHERE state = 'done' GROUP BY 1) r ON r.biller_id = e.biller_id
           WHERE coalesce(e.total, 0) <> coalesce(r.total, 0)""",
    ),
    Check(
        "29",
        "Of each payment no more was won back than chargebacks had taken",
        "SELECT count(*) FROM payments_reversal WHERE kind IN ('chargeback', 'won')",
        """SELECT 'payment ' || payment_id FROM payments_reversal WHERE state = 'done' AND kind IN ('chargeback', 'won')
           GROUP BY payment_id HAVING sum(CASE kind WHEN 'won' THEN -1 ELSE 1 END * (amount + fee + loss)) < 0""",
    ),
    Check(
        "30",
        "What goes back is of a payment that was taken here, by its route and in its currency; ours alone have attempts",
        "SELECT count(*) FROM payments_reversal",
        """SELECT 'reversal ' || r.id FROM payments_reversal r JOIN payments_payment p ON p.id = r.payment_id
           WHERE p.state NOT IN ('posted', 'reversed') OR p.route_id IS DISTINCT FROM r.route_id OR p.currency <> r.currency
              OR (r.kind IN ('void', 'refund')) <> (r.attempt_id IS NOT NULL)""",
    ),
    Check(
        "31",
        "A refund that did not come about, or not yet, has booked nothing",
        "SELECT count(*) FROM payments_reversal WHERE state <> 'done'",
        """SELECT 'reversal ' || r.id FROM payments_reversal r WHERE r.state <> 'done' AND
           (r.posting_id IS NOT NULL OR r.charged <> 0
            OR EXISTS (SELECT FROM payments_reversaldebit d WHERE d.reversal_id = r.id))""",
    ),
    Check(
        "40",
        "A payment has a moment at which it ended exactly where it has ended",
        "SELECT count(*) FROM payments_payment",
        """SELECT 'payment ' || id FROM payments_payment
           WHERE (state IN ('posted', 'failed', 'reversed')) <> (settled_at IS NOT NULL)""",
    ),
    Check(
        "told back",
        "Each reversal that was booked has the record that tells of it, if the biller wants to hear of payments",
        "SELECT count(*) FROM datapump_record WHERE type = 5",
        """SELECT 'record ' || r.id FROM datapump_record r LEFT JOIN payments_reversal v ON v.id = r.id
           WHERE r.type = 5 AND (v.id IS NULL OR v.state <> 'done' OR (r.facts->>'amount')::numeric <> v.amount
                                 OR r.customer_id <> v.customer_id)""",
    ),
    *[
        Check(
            "ref",
            f"{table}.{column} names a row of {target} of the same biller",
            f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL",
            f"""SELECT '{table} ' || t.id FROM {table} t LEFT JOIN {target} r ON r.id = t.{column}
                WHERE t.{column} IS NOT NULL AND (r.id IS NULL OR r.biller_id <> t.biller_id)""",
        )
        for table, column, target in REFERENCES
    ],
    *[
        Check(
            "ref",
            f"{table}.{column} names no row of {target} of another biller",
            f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL",
            f"""SELECT '{table} ' || t.id FROM {table} t JOIN {target} r ON r.id = t.{column}
                WHERE r.biller_id <> t.biller_id""",
        )
        for table, column, target in AGEING_REFERENCES
    ],
]


@contextmanager
def snapshot() -> Iterator[None]:
    """Hold one view of all tables inside the block, so that what is paid meanwhile does not look like a fault."""
    # A transaction of ours begins with a query, after which its level cannot be changed any more.
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        with transaction.atomic():
            yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")


def findings() -> Iterator[Finding]:
    """Run every check over the billers in scope, inside the caller's transaction; gives each as it is done."""
    with connection.cursor() as cursor:
        for check in CHECKS:
            cursor.execute(check.counted)
            (counted,) = cursor.fetchone()
            cursor.execute(check.wrong)
            examples = tuple(text for (text,) in cursor.fetchmany(5))
            wrong = len(examples) + len(cursor.fetchall())
            yield Finding(check, counted, wrong, examples)
