"""The documentation site: it builds without a warning, and asks no other host for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # `make check` builds it, too
ROOT = Path(__file__).parents[1]
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=[\"']?(?:https?:)?//"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload|icon|dns-prefetch))[^>]*?\bhref=[\"']?(?:https?:)?//"
    r"|@import[^;]*(?:https?:)?//|url\([\"']?(?:https?:)?//"
)
"""What a browser would fetch from another host; a link that one may follow is none of it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_page_of_what_is_fetched_is_noticed():
    assert FETCHED.search('<link rel="preconnect" href="https://fonts.example">')
    assert FETCHED.search("<script async src=//cdn.example/x.js>")
    assert not FETCHED.search('<a href="https://pyg.org">')


def test_nothing_is_asked_of_other_hosts(site):
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 30
    for file in files:
        found = FETCHED.search(file.read_text(encoding="utf-8"))
        assert not found, (file, found)


def test_links_to_files_lead_to_their_pages(site):
    promises = (site / "promises.html").read_text(encoding="utf-8")
    assert 'href="source/tests/graph/test_sampler.py.html#test_laws"' in promises
    assert 'href="api/data.html#lightning_lp.data.datamodule"' in (site / "training.html").read_text(encoding="utf-8")
    assert 'href="benchmarks/quality.html"' in (site / "index.html").read_text(encoding="utf-8")
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r'<a\b[^>]*?\bhref="([^"#]+)', text):
            if "://" not in target and not target.startswith("/"):  # those of the page for what is not found are
                assert (page.parent / target).exists(), (page, target)


def test_every_public_name_of_the_package_has_its_place(site):
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    for name in ("MovieLensDataModule", "LinkPredictionModule", "Recommender", "Encoder", "Sizes", "split_links"):
        assert re.search(rf'id="lightning_lp\.[\w.]+\.{name}"', text), name
