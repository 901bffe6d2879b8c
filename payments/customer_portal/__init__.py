"""The customer portal's pages about payments, methods of payment and AutoPay."""
