"""The report's page in a real browser: at 400 and 1600 pixels, light and dark, with names that mean harm.

With PHOENIX_SCREENSHOTS=DIR the pictures are kept there, for people to look at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from support.chromium import Chromium
from support.hosts import LiveHost
from support.reported import busy

WIDTHS = (400, 1600)
SCHEMES = ("light", "dark")
VIEWS = [(width, scheme) for width in WIDTHS for scheme in SCHEMES]
each_view = pytest.mark.parametrize(("width", "scheme"), VIEWS)

PROBE = """(() => {
  const found = [], texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.textContent.trim() || node.parentElement.closest('thead') && innerWidth < 960) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const r of range.getClientRects()) {
      // Letters do not fill the height of their line.
      const cut = r.height * 0.2;
      if (r.width > 1) texts.push({l: r.left, r: r.right, t: r.top + cut, b: r.bottom - cut, node});
    }
  }
  texts.sort((a, b) => a.t - b.t);
  for (let i = 0; i < texts.length; i++) {
    for (let j = i + 1; j < texts.length && texts[j].t < texts[i].b; j++) {
      const a = texts[i], b = texts[j];
      if (a.node !== b.node && Math.min(a.r, b.r) - Math.max(a.l, b.l) > 1)
        found.push(['overlap', a.node.textContent.slice(0, 40), b.node.textContent.slice(0, 40)]);
    }
  }
  for (const t of texts)
    if (t.r > innerWidth + 1 || t.l < -1) found.push(['outside', t.node.textContent.slice(0, 40)]);
  for (const cell of document.querySelectorAll('td')) {
    if (cell.scrollWidth > cell.clientWidth + 2) found.push(['cut off', cell.textContent.slice(0, 40)]);
    const style = getComputedStyle(cell);
    if (style.display === 'grid') {
      const own = cell.getBoundingClientRect().left + parseFloat(style.gridTemplateColumns);
      for (const t of texts)
        if (cell.contains(t.node) && t.l < own) found.push(['in the label', t.node.textContent.slice(0, 40)]);
    }
  }
  if (document.documentElement.scrollWidth > innerWidth) found.push(['scrolls', String(innerWidth)]);
  return {found, texts: texts.length};
})()"""
"""Texts that lie on one another, stick out or are cut off; and how many there are."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with something in each section, and hostile names among it."""
    folder = tmp_path_factory.mktemp("report")
    live = busy(LiveHost(folder / "live"), hostile=True)
    place = folder / "report.html"
    for name in ("lxc-a", "lxc-b"):
        live.conf("103", f"arch: amd64\nhostname: pihole\nunprivileged: 1\nlxc.apparmor.profile: {name}\n")
        done = live.phoenix("report", "--html", str(place))
        assert done.code == 0, done.err
    return place


@each_view
def test_no_text_overlaps_and_nothing_scrolls_sideways(
    browser: Chromium, made: Path, width: int, scheme: str, tmp_path: Path
) -> None:
    browser.open(made, width, scheme)
    seen = browser.run(PROBE)
    assert seen["found"] == [] and seen["texts"] > 200
    picture = Path(os.environ.get("PHOENIX_SCREENSHOTS", tmp_path)) / f"report-{width}-{scheme}.png"
    data = browser.screenshot(picture)
    assert data.startswith(b"\x89PNG") and int.from_bytes(data[16:20]) == width
    assert browser.asked_for == [made.as_uri()]


@pytest.mark.parametrize("width", [500, 959, 961, 1100])
def test_widths_between_are_readable_too(browser: Chromium, made: Path, width: int) -> None:
    browser.open(made, width)
    assert browser.run(PROBE)["found"] == []


def test_the_probe_sees_what_is_wrong(browser: Chromium, made: Path, tmp_path: Path) -> None:
    text = made.read_text()
    policy = text[text.index("<meta http-equiv") : text.index('<meta name="color-scheme"')]
    for style, kind in (
        ("section p{margin-bottom:-1.5em !important}", "overlap"),
        ("td{white-space:nowrap !important}", "scrolls"),
        ("td,td *{overflow-wrap:normal !important}", "cut off"),
    ):
        bad = tmp_path / "bad.html"
        bad.write_text(text.replace(policy, "").replace("</style>", f"{style}</style>"))
        browser.open(bad, 1600 if kind == "cut off" else 400)
        assert kind in {one[0] for one in browser.run(PROBE)["found"]}, kind


@each_view
def test_axe_finds_no_violation(browser: Chromium, made: Path, width: int, scheme: str) -> None:
    browser.open(made, width, scheme)
    browser.run(_axe())
    found = browser.run("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    told = [(v["id"], [node["target"] for node in v["nodes"]][:3]) for v in found["violations"]]
    assert told == []
    assert {one["id"] for one in found["incomplete"]} <= {"color-contrast"}
    assert len(found["passes"]) > 15


def test_axe_would_find_one(browser: Chromium, made: Path) -> None:
    browser.open(made, 1600)
    browser.run("document.documentElement.removeAttribute('lang')")
    browser.run("document.body.style.setProperty('--dim', '#ccc')")
    browser.run(_axe())
    found = {one["id"] for one in browser.run("axe.run(document)")["violations"]}
    assert {"html-has-lang", "color-contrast"} <= found


def _axe() -> str:
    # Importing the package would import playwright, which is not installed.
    found = find_spec("axe_playwright_python")
    if found is None or not found.submodule_search_locations:
        pytest.fail("axe-playwright-python is not installed; requirements.lock has it")
    text = (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text()
    return f"{text}; 0"


CONTRAST = """(() => {
  const light = c => {
    const v = c.map(x => x / 255).map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2];
  };
  const read = text => text.match(/[0-9.]+/g).map(Number);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = read(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [light(read(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.className + ' ' + e.textContent.slice(0, 30)];
  }
  return worst;
})()"""
"""The text with the least contrast: also where axe is not sure."""


@each_view
def test_each_text_has_contrast(browser: Chromium, made: Path, width: int, scheme: str) -> None:
    browser.open(made, width, scheme)
    ratio, which = browser.run(CONTRAST)
    assert ratio >= 4.5, which
    dark = browser.run("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark is (scheme == "dark")


def test_paper_is_light_and_has_everything(browser: Chromium, made: Path) -> None:
    a4 = round((210 - 2 * 12) / 25.4 * 96)
    browser.open(made, a4, "dark")
    browser.media("print", "dark")
    assert browser.run(PROBE)["found"] == []
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.run(CONTRAST)[0] >= 4.5
    assert browser.printed().startswith(b"%PDF")


def test_what_becomes_markup_all_the_same_runs_no_script(browser: Chromium, made: Path) -> None:
    browser.open(made, 1600)
    assert browser.run("document.scripts.length") == 0
    evil = json.dumps("<img src=x onerror='window.hit = 1'><svg onload='window.hit = 1'></svg>")
    after = browser.run(
        f"document.body.insertAdjacentHTML('beforeend', {evil});"
        "new Promise(done => setTimeout(() => done(window.hit ?? 'nothing'), 300))"
    )
    assert after == "nothing"


def test_headings_are_in_order_and_links_lead_somewhere(browser: Chromium, made: Path) -> None:
    browser.open(made, 1600)
    levels: Any = browser.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    dead = "[...document.links].filter(a => !document.getElementById(a.hash.slice(1))).length"
    assert browser.run("document.links.length") >= 9 and browser.run(dead) == 0
