"""The biller portal's pages about DataPump: history, one update, sending again, endpoints and their settings."""
