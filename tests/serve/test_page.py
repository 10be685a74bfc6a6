"""The page in a real browser: what a person does, by mouse and by keyboard. Without a Chromium it is skipped."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
import torch

from tests.journeys import best_checkpoint
from tests.serve.conftest import HOSTILE
from tests.serve.servers import Server, served

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.slow
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


@pytest.fixture(scope="module")
def server(run_folder, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    with served(folder, "--run", run_folder, "--ratings", folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        if CHROMIUM is None and not os.path.exists(playwright.chromium.executable_path):
            pytest.skip("no Chromium here: install one (.ci/browser does), or name it in CHROMIUM")
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(params=[(1280, "light"), (360, "dark")], ids=["wide", "narrow"])
def page(request, browser, server):
    """The page, in a window that tells of anything that is not asked of the service itself."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(20_000)
    found = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    found.on("request", lambda asking: asked.append(asking.url))
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    found.goto(server.address)
    sync_api.expect(found.locator("#served")).to_have_text(re.compile(r"^version_0/\S+\.ckpt: 40 users, 60 movies$"))
    yield found
    assert all(url.startswith(f"{server.address}/") for url in asked), asked
    assert not wrong
    assert found.title() == "lightning_lp", "no title has been run"
    assert found.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "it does not scroll sideways"
    context.close()


def show(page, user: str) -> None:
    page.get_by_label("User id, known or new").fill(user)
    page.get_by_role("button", name="Show").click()


def titles(page, where: str) -> list[str]:
    return page.locator(f"{where} .title").all_inner_texts()


def test_one_who_is_new_rates_a_movie_and_gets_a_list_with_reasons(page, request):
    expect, user = sync_api.expect, f"new {request.node.name}"
    show(page, user)
    expect(page.locator("#list-count")).to_have_text("Nothing is known to go by: find a movie and rate it.")
    page.get_by_label("Words of its title").fill("of")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#found li").first).to_be_visible()
    first, second = titles(page, "#found")[:2]
    page.get_by_label(f"Rating of {first}").first.select_option("4.5 ★")
    page.get_by_role("button", name=f"Rate {first}", exact=True).first.click()
    expect(page.locator("#history .title")).to_have_text([first])
    expect(page.locator("#history li")).to_contain_text("4.5 ★ · new")
    expect(page.locator("#list li")).to_have_count(10)
    before = titles(page, "#list")
    assert first not in before
    why = page.locator("#list li").first.get_by_role("button", name="Why")
    why.click()
    table = page.locator("#list li").first.locator("table")
    expect(table).to_be_visible()
    expect(why).to_have_attribute("aria-expanded", "true")
    assert table.locator("th").all_inner_texts() == [first, "this movie, for every user", "the rest", "sum"]
    *parts, total = (float(text.replace("\u2212", "-")) for text in table.locator("td").all_inner_texts())
    assert abs(sum(parts) - total) <= 0.002
    page.locator("#found").get_by_role("button", name=f"Rate {second}", exact=True).click()
    expect(page.locator("#history .title")).to_have_text([second, first])
    expect(page.locator("#list .title", has_text=second)).to_have_count(0)
    page.get_by_role("button", name=f"Remove {second}").click()
    expect(page.locator("#history .title")).to_have_text([first])
    expect(page.locator("#list .title")).to_have_text(before)


def test_one_who_is_known_filters_and_looks_for_similar_ones(page):
    expect = sync_api.expect
    page.goto(f"{page.url}#user=7")
    expect(page.locator("#list li")).to_have_count(10)
    genre = page.get_by_label("Genre").locator("option").all_inner_texts()[1]
    page.get_by_label("Genre").select_option(genre)
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#status")).to_contain_text("movies recommended")
    page.wait_for_timeout(300)
    assert all(genre in text for text in page.locator("#list li > .soft").all_inner_texts())
    page.get_by_label("From year").fill("9999")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#list-count")).to_have_text("No movie is left: change the filter.")
    movie = titles(page, "#history")[0]
    page.locator("#history li").first.get_by_role("button", name=f"Movies like {movie}").click()
    expect(page.locator("#similar-head")).to_have_text(f"Similar to {movie}")
    expect(page.locator("#similar-head")).to_be_focused()
    expect(page.locator("#similar li")).to_have_count(10)


def test_a_hostile_title_is_shown_as_text(page):
    page.get_by_label("Words of its title").fill("bold")
    page.get_by_role("button", name="Search").click()
    sync_api.expect(page.locator("#found .title")).to_have_text([HOSTILE])
    assert page.locator("#found img, #found b").count() == 0


def test_the_keyboard_is_enough(page):
    page.locator("#user").focus()
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#list li")).to_have_count(10)
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate("() => document.activeElement.ariaLabel || ''")
        if focused.startswith("Why "):
            break
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#list table:not([hidden])")).to_have_count(1)


def test_it_says_what_went_wrong(page, server):
    page.get_by_label("Words of its title").fill("of")
    page.get_by_role("button", name="Search").click()
    page.locator("#found").get_by_role("button", name="Rate").first.click()
    sync_api.expect(page.locator("#problem")).to_have_text("Name a user first: whose rating is it?")
    sync_api.expect(page.locator("#user")).to_be_focused()
    page.context.set_offline(True)
    show(page, "7")
    sync_api.expect(page.locator("#problem")).to_have_text("The service does not answer: is it running?")
    page.context.set_offline(False)
    show(page, "7")
    sync_api.expect(page.locator("#problem")).to_be_empty()
    sync_api.expect(page.locator("#list li")).to_have_count(10)


def test_a_key_is_asked_for(browser, run_folder, tmp_path):
    key = "0123456789abcdef"
    (tmp_path / "key").write_text(key)
    with served(
        tmp_path, "--run", run_folder, "--ratings", tmp_path / "log", "--api-key-file", tmp_path / "key"
    ) as server:
        page = browser.new_page()
        page.goto(f"{server.address}/#user=7")
        sync_api.expect(page.locator("#problem")).to_contain_text("API key is wanted")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Use it").click()
        sync_api.expect(page.locator("#list li")).to_have_count(10)
        sync_api.expect(page.locator("#problem")).to_be_empty()
        page.close()


def test_it_notices_that_another_model_answers(browser, run_folder, tmp_path):
    first, later = (shutil.copytree(run_folder, tmp_path / name) for name in ("version_0", "version_1"))
    file = best_checkpoint(later)
    content = torch.load(file, weights_only=True)
    content["MovieLensDataModule"]["genres"] = ["Noir"] * 60
    torch.save(content, file)
    current = tmp_path / "current"
    current.symlink_to(first)
    with served(tmp_path, "--run", current, "--ratings", tmp_path / "log") as server:
        page = browser.new_page()
        page.goto(f"{server.address}/#user=7")
        sync_api.expect(page.locator("#list li")).to_have_count(10)
        current.unlink()
        current.symlink_to(later)
        assert server.ask("POST", "/v1/reload", {})[0] == 200
        page.get_by_role("button", name="Show").click()
        sync_api.expect(page.locator("#served")).to_have_text(f"version_1/{file.name}: 40 users, 60 movies")
        sync_api.expect(page.get_by_label("Genre").locator("option")).to_have_text(["any", "Noir"])
        sync_api.expect(page.locator("#list li")).to_have_count(10)
        sync_api.expect(page.locator("#problem")).to_be_empty()
        page.close()


def test_nothing_stands_in_the_way_of_those_who_see_or_hear_it_otherwise(page):
    """The rules of axe (WCAG 2 A and AA among them), after all parts of the page have been filled."""
    page.goto(f"{page.url}#user=7")
    sync_api.expect(page.locator("#list li")).to_have_count(10)
    page.get_by_label("Words of its title").fill("of")
    page.get_by_role("button", name="Search").click()
    sync_api.expect(page.locator("#found li").first).to_be_visible()
    page.locator("#list li").first.get_by_role("button", name="Why").click()
    page.locator("#list li").first.get_by_role("button", name="Movies like").click()
    sync_api.expect(page.locator("#similar li")).to_have_count(10)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert len(found.response["passes"]) > 20
