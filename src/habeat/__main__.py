"""Run habeat with `python -m habeat`."""

from habeat.cli import main

if __name__ == "__main__":
    main()
