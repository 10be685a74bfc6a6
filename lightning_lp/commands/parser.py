"""The parser of the commands that are not the Trainer's."""

import argparse
import re
from typing import NoReturn

from lightning_lp.errors import UserError


class Parser(argparse.ArgumentParser):
    """Answers a wrong option with one sentence, as every other mistake is answered."""

    def error(self, message: str) -> NoReturn:
        """Raises the message."""
        if found := re.match(r"argument .*?(--[\w-]+): expected one argument", message):
            message += f"; one that begins with '-' is given as {found[1]}=-..."
        raise UserError(f"{message}; all options: {self.prog} --help")
