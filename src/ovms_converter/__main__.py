"""`python -m ovms_converter` is the command `ovms-converter`."""

from ovms_converter.cli import main

if __name__ == "__main__":
    main()
