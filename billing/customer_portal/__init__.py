"""The customer portal's pages about billers, accounts, bills and payers themselves."""
