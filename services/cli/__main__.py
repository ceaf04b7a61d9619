"""`python -m services.cli` is `hemotriage`."""

from services.cli import main

main()
