"""The simulated processor: a network service of its own that takes test cards and moves no money.

Run it with ``python -m payments.gateways.simulator_service``. It needs no database server and imports nothing of the
project but the published test numbers beside it; it keeps its own book in SQLite, so that tests compare two books that
nobody wrote together. ``server.py`` answers, ``book.py`` remembers, ``switches.py`` makes it misbehave on purpose,
``hosted_fields.py`` and ``pages.py`` are the card and bank forms that it serves to browsers.

Source: PAY-23.
"""
