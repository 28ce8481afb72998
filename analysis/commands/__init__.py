"""The commands, one a file: NAME, HELP, add_arguments(parser) and run(args) -> status. `analysis.scan` finds them."""
