"""`python -m mica.cli`: the command line without the script that installing leaves."""

from mica.cli.main import main

main()
