"""What is this tree? One module a format, and the registry of them. Knows nothing of networks."""
