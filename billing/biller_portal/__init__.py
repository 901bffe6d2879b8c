"""The biller portal's pages about billers, customers, bills, files, runs and people."""
