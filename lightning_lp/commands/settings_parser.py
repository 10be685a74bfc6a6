"""The parser of the commands whose options are the parameters of classes."""

import sys
from typing import Any, NoReturn

from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser

from lightning_lp.commands.mistakes import explain
from lightning_lp.escape import visible
from lightning_lp.plain import readable


class SettingsParser(LightningArgumentParser):
    """Answers a wrong option with one sentence and the nearest right name, not with all names there are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)  # a part of --resume would be a run from the start
        self.linked: dict[str, str] = {}

    def link_arguments(self, source: Any, target: str, *args: Any, **kwargs: Any) -> None:
        """Links as jsonargparse does, and remembers what follows from what."""
        super().link_arguments(source, target, *args, **kwargs)
        self.linked[target] = str(source)

    def dump(self, cfg: Namespace, **kwargs: Any) -> str:
        """Writes settings as YAML, also those that a class has as an enumeration or a device by default."""
        return str(super().dump(readable(cfg), **kwargs))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the program with status 2; in the reading of a class's own options, tells the parser that reads them."""
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        options = f"all options: {parser.prog.replace(' [options]', '')} --help"
        print(f"error: {visible(explain(message, parser._option_string_actions))}\n{options}", file=sys.stderr)
        sys.exit(2)
