#!/usr/bin/env python3
"""Twenty random stories of commands and kills (chaos.py). FG_SEEDS=first:last chooses others."""

import os

from chaos import Chaos
from harness import main


def twenty_stories():
    first, last = map(int, os.environ.get("FG_SEEDS", "1:21").split(":"))
    requests = 0
    with Chaos() as chaos:
        for seed in range(first, last):
            requests += chaos.run(seed)["requests"]
            if seed % 50 == 0:
                print(f"# {seed} of {last}", flush=True)
    print(f"# {last - first} stories, {requests} requests")
    assert requests > 1000 * (last - first)


main(twenty_stories)
