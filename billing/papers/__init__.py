"""Papers: bills and receipts as PDF of our own, for people to keep and print.

``typesetting`` turns plain values into a PDF; ``bills`` says what stands on a bill. Receipts are in ``payments.receipts``.
"""
