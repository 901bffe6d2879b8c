"""The REST API of payments: a module per noun holds its views and the shapes of what goes in and out."""
