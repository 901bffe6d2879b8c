"""What a piece of work costs: CPU of this process and of its PostgreSQL backend, time, WAL, statements, memory."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from django.db import connection

_TICKS = os.sysconf("SC_CLK_TCK")
Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of some work over ``items``: CPU and wall in seconds, WAL in bytes."""

    items: int
    client: float
    backend: float
    wall: float
    wal: int
    statements: int

    @property
    def cpu(self) -> float:
        """CPU of client and backend together."""
        return self.client + self.backend

    @property
    def per_second(self) -> float:
        """Items a second of CPU."""
        return self.items / self.cpu


def backend_cpu(pid: int) -> float:
    """Give the CPU that a process of one thread has used, in seconds, to the nanosecond where the kernel says it.

    A backend that has ended has used nothing: a pool may close one that nobody needs.
    """
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as stat:
            return int(stat.read().split()[0]) / 1e9
    except OSError:
        try:
            return _ticks(pid)
        except FileNotFoundError:
            return 0.0


def _ticks(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(work: Callable[[], int], *, backends: Sequence[int] | None = None) -> Cost:
    """Do some work that gives its number of items, and give its cost; ``backends`` are the pids it uses besides our own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), pg_current_wal_insert_lsn()")
        own, lsn = cursor.fetchone()
    pids = [own, *(backends or [])]
    counted = 0

    def count(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        nonlocal counted
        counted += 1
        return execute(sql, params, many, context)

    before, client, wall = [backend_cpu(pid) for pid in pids], time.process_time(), time.monotonic()
    with connection.execute_wrapper(count):
        items = work()
    wall, client = time.monotonic() - wall, time.process_time() - client
    backend = sum(max(0.0, backend_cpu(pid) - was) for pid, was in zip(pids, before, strict=True))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [lsn])
        wal = int(cursor.fetchone()[0])
    return Cost(items, client, backend, wall, wal, counted)


def tree_cpu(root: int) -> float:
    """Give the CPU that a process and everything below it have used, in seconds."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/stat", encoding="ascii", errors="replace") as stat:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    used, waiting = 0.0, [root]
    while waiting:
        pid = waiting.pop()
        used += _ticks(pid)
        waiting += children.get(pid, [])
    return used


def ratio(ours: Sequence[Cost], other: Sequence[Cost]) -> float:
    """Give how many times as fast ours is as the other, by CPU: the median of the rounds' own ratios."""
    return statistics.median(a.per_second / b.per_second for a, b in zip(ours, other, strict=True))


def middle(costs: Sequence[Cost], of: Callable[[Cost], float]) -> float:
    """Give the median of a figure over the rounds."""
    return statistics.median(of(cost) for cost in costs)


def peak_memory() -> int:
    """Give the most memory that this process has had so far, in megabytes."""
    return _memory("VmHWM")


def memory() -> int:
    """Give the memory that this process has now, in megabytes."""
    return _memory("VmRSS")


def _memory(line: str) -> int:
    # getrusage counts what the process was before it became this program.
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            found = re.search(rf"{line}:\s+(\d+) kB", status.read())
    except OSError:
        found = None
    return int(found[1]) // 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def apart(work: Callable[..., Given], *args: Any) -> Given:
    """Do some work in a fresh process, whose memory nothing else has stretched; a function of a module."""
    with multiprocessing.get_context("spawn").Pool(1, initializer=set_up) as pool:
        return pool.apply(work, args)


def set_up() -> None:
    """Make a fresh process ready for Django."""
    import django

    django.setup()


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def as_superuser(statement: str) -> None:
    """Do what only the server's superuser may: write a checkpoint, change its configuration, collect statistics."""
    with psycopg.connect(os.environ["BENCH_SUPERUSER"], autocommit=True) as superuser:
        superuser.execute(statement.encode())


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """Print a table of figures."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    print(f"\n{title}")
    for row in (head, *rows):
        print(
            "  "
            + "  ".join(
                text.ljust(width) if n == 0 else text.rjust(width)
                for n, (text, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    for note in notes:
        print(f"  {note}")


def verdict(name: str, figure: float, aim: float, *, at_most: bool = False, unit: str = "") -> str:
    """Say whether a figure reaches its aim."""
    reached = figure <= aim if at_most else figure >= aim
    bound = "at most" if at_most else "at least"
    return f"{name}: {figure:.2f}{unit} (aim {bound} {aim:g}{unit}) {'reached' if reached else 'NOT REACHED'}"
