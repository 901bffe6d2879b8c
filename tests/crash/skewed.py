"""A Celery worker whose clock goes wrong after it has started: ``python -m tests.crash.skewed SECONDS worker …``.

A worker compares its clock when it starts and refuses to work with a wrong one; this one was right then.
"""

from __future__ import annotations

import datetime
import sys

import time_machine
from celery.signals import worker_process_init, worker_ready

SECONDS = float(sys.argv[1])
_gone_wrong: list[time_machine.travel] = []


def go_wrong(**_: object) -> None:
    """Set this process's clock, once: a child that is made later has its parent's."""
    if not _gone_wrong:
        wrong = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=SECONDS)
        _gone_wrong.append(time_machine.travel(wrong, tick=True))
        _gone_wrong[0].start()


if __name__ == "__main__":
    # Those who keep records for others begin when all of it stands; children right after they are made.
    worker_ready.connect(go_wrong, weak=False)
    worker_process_init.connect(go_wrong, weak=False)
    from config.celery import app

    app.worker_main(sys.argv[2:])
