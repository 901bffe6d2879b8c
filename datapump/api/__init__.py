"""The REST API of DataPump: what the biller's own system was told, and telling it again."""
