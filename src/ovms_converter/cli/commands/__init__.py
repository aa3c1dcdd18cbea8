"""One module for each command, named as it; `command` in it is the click command."""
