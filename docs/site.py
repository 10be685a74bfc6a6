"""What MkDocs cannot do alone: pages from outside ``docs``, and links that work here as they do on GitHub.

Pages link to files by relative paths. A file that is documented under API leads there; any other one, a test or an
example, gets a page that shows it.
"""

import ast
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/quality.md": "benchmarks/quality.md",
    "benchmarks/README.md": "benchmarks/speed.md",
    "benchmarks/mutation.md": "benchmarks/mutation.md",
}
"""File -> page of the site."""

_LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_PICTURE = re.compile(r"!\[([^\[\]]*)\]\(docs/([^)\s]+)\)")
_ROLE = re.compile(r":(?:attr|class|func|meth|mod):(?=<code>)")
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", "": "text"}
_FENCE = "`" * 8

_file_of: dict[str, str] = {}
"""Page -> file."""
_page_of: dict[str, str] = {}
"""File -> page, with an anchor where it is a part of one."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of ``PAGES``, and one for each file that is linked to and has none."""
    _file_of.clear()
    for file in files.documentation_pages():
        _file_of[file.src_uri] = f"docs/{file.src_uri}"
    for path, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
        _file_of[page] = path
    _page_of.clear()
    _page_of.update({path: page for page, path in _file_of.items()})
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in _file_of.values()}
    for page, path in _file_of.items():
        for module in re.findall(r"^::: (lightning_lp[\w.]*)$", texts[path], re.MULTILINE):
            _page_of[f"{module.replace('.', '/')}.py"] = f"{page}#{module}"
    linked: dict[str, set[str]] = {}
    for path, text in texts.items():
        for label, target, _ in _LINK.findall(text):
            found = _resolve(path, target)
            if found is not None and found not in _page_of:
                linked.setdefault(found, set()).add(label.strip("`"))
    for path, names in linked.items():
        page = _page_of[path] = f"source/{path}.md"
        files.append(File.generated(config, page, content=_source_page(path, names)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lets links to files lead to their pages."""
    uri = page.file.src_uri
    path = _file_of.get(uri)
    if path is None:  # the page of a source file
        return markdown

    def link(match: re.Match[str]) -> str:
        label, target, anchor = match.groups(default="")
        found = _resolve(path, target)
        if found is None:
            return match[0]
        to, _, part = _page_of[found].partition("#")
        if to.startswith("source/") and f"## {label.strip('`')}\n" in files.src_uris[to].content_string:
            part = label.strip("`")
        anchor = anchor or (part and f"#{part}")
        return f"[{label}]({posixpath.relpath(to, posixpath.dirname(uri) or '.')}{anchor})"

    return _PICTURE.sub(r"![\1](\2)", _LINK.sub(link, markdown))  # of README alone: others stand beside theirs


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings say ``:func:`name```, as Sphinx does. Names of tests may be broken at their underscores."""
    html = _ROLE.sub("", html)
    return re.sub(r"(?<=<code>)test_\w+(?=</code>)", lambda name: name[0].replace("_", "_<wbr>"), html)


def _resolve(path: str, target: str) -> str | None:
    """The file in the repository that a link of the file ``path`` leads to; None if it leads elsewhere."""
    if "://" in target:
        return None
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return found if (ROOT / found).is_file() else None


def _source_page(path: str, names: set[str]) -> str:
    """A page with the text of a file; those of its functions that are linked to by name have a heading each."""
    file = ROOT / path
    lines, starts = file.read_text(encoding="utf-8").splitlines(), {0: ""}
    if file.suffix == ".py":
        for node in ast.parse("\n".join(lines)).body:
            if isinstance(node, ast.FunctionDef) and node.name in names:
                starts[min([node, *node.decorator_list], key=lambda each: each.lineno).lineno - 1] = node.name
    language = _LANGUAGES.get(file.suffix, "text")
    parts = []
    for start, end in zip(sorted(starts), [*sorted(starts)[1:], len(lines)], strict=True):
        heading = f"## {starts[start]}\n\n" if starts[start] else ""
        parts.append(f"{heading}{_FENCE}{language}\n" + "\n".join(lines[start:end]).strip("\n") + f"\n{_FENCE}\n")
    return "---\nsearch: {exclude: true}\n---\n\n" + f"# {path}\n\n" + "\n".join(parts)
