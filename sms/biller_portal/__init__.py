"""The biller portal's pages about texting."""
