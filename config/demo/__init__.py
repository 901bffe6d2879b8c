"""The demonstration: billers to look at, one month of their past, the main job, and pages about the simulators.

``data`` makes the billers and their past, ``people`` those who sign in; ``job`` runs the main job, ``books`` compares
the three books that must agree; ``pages`` shows what runs and ``telephones`` the telephones. ``doors`` speaks to the
control doors of the simulated processor, CIS and telephone network. Nothing here is there unless ``DEMO=1``.
"""
