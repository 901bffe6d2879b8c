"""A whole run of AutoPay over many due bills: planning it, charging, and letting the answers take effect, step by step.

The rows are those of ``collects``, and so is the hand-written SQL that they are held against; here it is one run of a million,
beside smaller ones, and one of two workers beside one of one.
"""

from __future__ import annotations

import datetime
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from bench import collects, measures
from bench.measures import Cost, measure

SMALLEST, MIDDLE, LARGEST = 10_000, 100_000, 1_000_000
SHARED = 200_000


@dataclass(frozen=True, slots=True)
class Steps:
    """What the steps of one run cost; ``memory`` is the most that the process had, in megabytes."""

    planned: Cost
    worked: Cost
    applied: float  # CPU seconds of ``worked`` in which answers took effect
    memory: int

    @property
    def items(self) -> int:
        """How many payments were made."""
        return self.worked.items


def run(*, scale: float = 1.0) -> None:
    """Measure and print; ``scale`` makes every size smaller or larger."""
    sizes = [max(100, int(size * scale)) for size in (SMALLEST, MIDDLE, LARGEST)]
    shared = max(100, int(SHARED * scale))
    biller_id = _make([*sizes, sizes[-1], shared, shared])
    steps = [measures.apart(_whole, biller_id, day) for day in range(len(sizes) - 1)]
    # The floor has the emptier tables of the two.
    floor = measures.apart(_floor, biller_id, len(sizes))
    steps.append(measures.apart(_whole, biller_id, len(sizes) - 1))
    alone = _workers(biller_id, len(sizes) + 1, 1)
    both = _workers(biller_id, len(sizes) + 2, 2)

    def row(one: Steps) -> list[str]:
        return [
            f"{one.items:,}",
            f"{one.planned.per_second:,.0f}",
            f"{one.items / (one.worked.cpu - one.applied):,.0f}",
            f"{one.items / one.applied:,.0f}",
            f"{one.items / (one.planned.cpu + one.worked.cpu):,.0f}",
            f"{one.items / (one.planned.wall + one.worked.wall):,.0f}",
            f"{(one.planned.wal + one.worked.wal) / one.items:,.0f}",
            f"{(one.planned.statements + one.worked.statements) / one.items:.4f}",
            str(one.memory),
        ]

    whole = steps[-1]
    per_second = whole.items / (whole.planned.cpu + whole.worked.cpu)
    first = steps[0].items / (steps[0].planned.cpu + steps[0].worked.cpu)
    measures.table(
        "A run of AutoPay: bills a CPU second by step",
        ["bills", "plan", "collect", "apply", "all", "all a second", "WAL bytes each", "statements each", "peak MB"],
        [
            *(row(one) for one in steps),
            [
                f"floor {floor.items:,}", "", "", "", f"{floor.per_second:,.0f}", f"{floor.items / floor.wall:,.0f}",
                f"{floor.wal / floor.items:,.0f}", f"{floor.statements / floor.items:.4f}", "",
            ],
        ],
        [
            measures.verdict("ours / floor", per_second / floor.per_second, 0.70),
            f"{whole.items:,} bills cost {first / per_second:.2f} times the CPU each of {steps[0].items:,}",
            f"two workers / one: {alone / both:.2f} times as fast by the clock (PostgreSQL shares their cores)",
        ],
    )  # fmt: skip


def _make(sizes: list[int]) -> int:
    from billing import tenancy

    biller_id, route_id = collects.make_biller()
    with tenancy.acting_for([biller_id]):
        for day, size in enumerate(sizes):
            with transaction.atomic(), connection.cursor() as cursor:
                collects.fill(cursor, biller_id, route_id, day, size)
    measures.as_superuser("VACUUM ANALYZE")
    measures.as_superuser("CHECKPOINT")
    return biller_id


def _pass_everything() -> None:
    from payments.operations import runs

    setattr(runs, "open_route", lambda route: collects.PassingGateway())  # noqa: B010  (the processor is what is left out)


def _plan(biller_id: int, day: int) -> Any:
    from billing.actors import Actor
    from billing.models import Biller
    from payments.operations import collections

    on = collects.DAY + datetime.timedelta(days=day)
    return collections.plan(
        biller=Biller.objects.get(pk=biller_id),
        options=collections.Options(start=on, end=on),
        actor=Actor.system("bench"),
        now=timezone.now(),
    )


def _work(run: Any) -> int:
    from billing.actors import Actor
    from payments.operations import collections

    return sum(chunk.passed_count for chunk in collections.work(run=run, actor=Actor.system("bench")))


def _whole(biller_id: int, day: int) -> Steps:
    """Plan and work off one run in this process, and tell its steps apart."""
    from billing import tenancy
    from payments.operations import settlements

    _pass_everything()
    applied = 0.0
    with tenancy.acting_for([biller_id]):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        take_effect: Callable[..., Any] = settlements.settle

        def timed(**given: Any) -> Any:
            nonlocal applied
            began = time.process_time() + measures.backend_cpu(pid)
            try:
                return take_effect(**given)
            finally:
                applied += time.process_time() + measures.backend_cpu(pid) - began

        setattr(settlements, "settle", timed)  # noqa: B010
        made: list[Any] = []

        def plan() -> int:
            made.append(_plan(biller_id, day))
            return int(sum(made[0].chunks.values_list("expected", flat=True)))

        planned = measure(plan)
        worked = measure(lambda: _work(made[0]))
    return Steps(planned, worked, applied, measures.peak_memory())


def _floor(biller_id: int, day: int) -> Cost:
    from billing import tenancy

    with tenancy.acting_for([biller_id]):
        return measure(lambda: collects.floor(biller_id, day))


def _one_of(biller_id: int, run_id: int) -> None:
    measures.set_up()
    from billing import tenancy
    from billing.models import Run

    _pass_everything()
    with tenancy.acting_for([biller_id]):
        _work(Run.objects.select_related("biller").get(pk=run_id))


def _workers(biller_id: int, day: int, count: int) -> float:
    """Work off one run with so many processes; gives the seconds that it took by the clock."""
    from billing import tenancy

    with tenancy.acting_for([biller_id]):
        made = _plan(biller_id, day)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_one_of, args=(biller_id, made.pk)) for _ in range(count)]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - began
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("A worker of the measurement failed.")
    return seconds
