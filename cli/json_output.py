"""Output for programs; apart from `quaver.cli.console`, for what programs read needs no tables."""

import json


def print_json(value: object) -> None:
    """Print a value as all commands do with `--json`."""
    print(json.dumps(value, indent=2))
