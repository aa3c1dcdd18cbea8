"""Boosted trees in their libraries' own files, read without those libraries: plain text, JSON and UBJSON."""
