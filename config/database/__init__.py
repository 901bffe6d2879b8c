"""PostgreSQL as Django's database, with the billers in scope told to it. See ``base``."""
