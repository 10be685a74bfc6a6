"""The parser of the commands whose options are the parameters of classes."""

import sys
from functools import reduce
from operator import or_
from typing import Any, NoReturn, get_args

import yaml
from jsonargparse import Namespace, get_loader, set_loader
from pytorch_lightning.cli import LightningArgumentParser

from lightning_lp.commands.mistakes import explain
from lightning_lp.commands.spelling import spelled_settings
from lightning_lp.escape import visible
from lightning_lp.plain import readable

_YAML = "lightning_lp"
set_loader(_YAML, lambda text: spelled_settings(get_loader("yaml")(text)), (yaml.YAMLError,))


class SettingsParser(LightningArgumentParser):
    """Answers a wrong option with one sentence and the nearest right name, not with all names there are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Without abbreviations: a part of --resume would be a run from the start.
        super().__init__(*args, allow_abbrev=False, **{"parser_mode": _YAML, **kwargs})
        self.linked: dict[str, str] = {}

    def link_arguments(self, source: Any, target: str, *args: Any, **kwargs: Any) -> None:
        """Links as jsonargparse does, and remembers what follows from what."""
        super().link_arguments(source, target, *args, **kwargs)
        self.linked[target] = str(source)

    def read_whole_numbers_as_such(self) -> None:
        """Lets an option that takes ``int | float`` take 1 for a number of batches, and not for the share 1.0.

        Python keeps one object for ``Optional[Union[int, float]]`` and ``Optional[Union[float, int]]``: whichever
        library is imported first decides the order in which values are tried.
        """
        for action in self._actions:
            kinds = get_args(getattr(action, "_typehint", None))
            if int in kinds and float in kinds and kinds.index(float) < kinds.index(int):
                first, *rest = (int, *(kind for kind in kinds if kind is not int))
                vars(action)["_typehint"] = reduce(or_, rest, first)

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
