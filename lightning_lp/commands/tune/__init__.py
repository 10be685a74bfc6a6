"""The command ``tune``: the search, the file of its study, and a summary."""
