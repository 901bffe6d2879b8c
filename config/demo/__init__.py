"""The demonstration: billers to look at, one month of their past, the main job, and pages about the simulators.

``data`` makes all of it: the billers (``towns``), their past (``months``), the payers of the cast (``households``) and
those who sign in (``people``). ``job`` runs the main job, ``books`` compares the books that must agree. ``pages`` shows
what runs and the processor, ``systems`` the billers' systems, ``telephones`` the telephones, ``portals`` the portal of a
biller's own. ``doors`` speaks to the control doors of the simulated processor, CIS, receiver and telephone network.
Nothing here is there unless ``DEMO=1``.
"""
