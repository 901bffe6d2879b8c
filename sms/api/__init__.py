"""The REST API of texting: enrolments in pay by text with their consent, and the texts that went to and fro."""
