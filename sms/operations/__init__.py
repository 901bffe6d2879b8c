"""What changes texting."""
