"""The command ``tune``: the search, its study and its report."""
