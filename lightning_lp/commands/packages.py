"""What to install, for a package that is missing or too old."""

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

_PIP = {
    "attr": "attrs",
    "comet_ml": "comet-ml",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "google": "google-cloud-storage",
    "hydra": "hydra-core",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "transformer_engine": "transformer_engine[pytorch]",
    "yaml": "PyYAML",
}
"""Names by which packages are imported -> those by which pip knows them, where they differ."""

_SAYINGS = (
    r"Requirement '([\w.-]+)(.*?)' not met",  # lightning_utilities' RequirementCache
    r"Module not found: '([\w-]+)()",
    r"pip install (?:-U |--upgrade )?'?([\w.-]+)([<>=~!].*?)?['`.]",
    r"(?i)\binstall ([\w-]+)() to access",  # fsspec
)
"""How libraries say which package they lack: its name, and the versions that they take."""


def lacking(error: ImportError) -> tuple[str, str]:
    """The package that an exception says is missing, and the versions that are wanted; empty where it does not say."""
    text = " ".join(str(error).split())
    if said := next(filter(None, (re.search(saying, text) for saying in _SAYINGS)), None):
        return said[1], said[2] or ""
    module = (error.name or "").split(".")[0]
    return ("", "") if _is_there(module) else (module, "")


def missing(error: ImportError, what: str = "this command") -> str | None:
    """What to install, or none if it is this package itself that cannot be imported: that is a fault of its own.

    Args:
        error: what Python, or a library that looked for the package, raised.
        what: what needs it.
    """
    if (error.name or "").split(".")[0] == "lightning_lp":
        return None
    name, versions = lacking(error)
    if not name:
        return f"{what} cannot be used: {' '.join(str(error).split())}"
    pip = _PIP.get(name, name)
    if versions and (found := _version(name)):
        return f"{what} needs another version of the package {name} than {found}: pip install '{pip}{versions}'"
    return f"{what} needs the package {name}: pip install {repr(pip) if '[' in pip else pip}"


def _is_there(module: str) -> bool:
    try:
        return not module or find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
