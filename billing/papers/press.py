"""Sets one paper and ends: a process of its own, so that what typst chokes on ends this process and nobody else's.

``press.py MEMORY SECONDS`` reads the paper's values as JSON from standard input and writes the PDF to standard output. It
is run by its path, knows nothing of ours, and takes its limits upon itself before it loads anything: setting them
between fork and exec of a process with threads (``preexec_fn``) may lock it up.
"""

from __future__ import annotations

import base64
import json
import resource
import sys
from pathlib import Path

TEMPLATE = Path(__file__).with_name("paper.typ")


def limit(memory: int, seconds: int) -> None:
    """Take at most so many bytes of address space and so many seconds of CPU, write no file and leave no core."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        kept = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (kept, kept))


def main() -> None:
    """Set the paper; whatever fails ends the process with a status that is not 0."""
    limit(int(sys.argv[1]), int(sys.argv[2]))
    values = json.load(sys.stdin.buffer)
    values["logo"] = list(base64.b64decode(values["logo"]))
    import typst  # 80 MB, counted against the limit

    body: bytes = typst.compile(
        TEMPLATE.read_bytes(),
        format="pdf",
        ignore_system_fonts=True,
        # The one way in for a picture that is in no file: its bytes as numbers.
        sys_inputs={"paper": json.dumps(values)},
        pdf_standards=["ua-1"],
    )
    sys.stdout.buffer.write(body)


if __name__ == "__main__":
    main()
