"""From records to text, JSON and pictures; nothing here prints."""
