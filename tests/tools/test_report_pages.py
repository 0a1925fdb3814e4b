"""The pages in a real browser: no errors, search, sort, keys; they need no network and fit a phone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.assigning import make
from support.everything import FILES
from support.needs import require
from support.oci_material import run

HISTORY = Path(__file__).parents[1] / "data" / "histories" / "aks-azurelinux3.json.xz"
NASTY = 'opt/<img src=x onerror="alert(1)">/file'

PROBE = """<script>
const found = {errors: []};
window.onerror = (message) => found.errors.push(message);
const act = (function () { %s });
Object.assign(found, act());
found.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
const out = document.createElement("pre");
out.id = "found";
out.textContent = JSON.stringify(found);
document.body.append(out);
</script>"""


def rechunk(*arguments: str | Path) -> str:
    return run(sys.executable, "-m", "rechunk_podman", *arguments)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of each command; the image has a record of three releases."""
    require("chromium")
    folder = tmp_path_factory.mktemp("pages")
    top = make(folder / "root", FILES | {NASTY: "x", "opt/large": "y" * 400_000})
    (folder / "config.json").write_text("{}")
    memory: tuple[str, ...] = ()
    for number in range(3):
        make(top, {"srv/app/server.js": f"{number}"})
        target = f"oci:{folder}/{number}"
        rechunk(
            *("build", "--rootfs", top, "--config", folder / "config.json", "--compression", "zstd"),
            *("--source-date-epoch", str(1_750_000_000 + number * 86_400), "--no-reuse", "--output", target),
            *("--max-layers", "8", *memory),
        )
        memory = ("--previous", target)
    made = {name: folder / f"{name}.html" for name in ("inspect", "diff", "simulate")}
    rechunk("inspect", f"oci:{folder}/2", "--html", made["inspect"])
    rechunk("diff", f"oci:{folder}/1", f"oci:{folder}/2", "--html", made["diff"])
    rechunk("simulate", HISTORY, "--max-layers", "32,64", "--html", made["simulate"])
    return made


def in_browser(page: Path, script: str, folder: Path, width: int = 1280) -> dict[str, Any]:
    """Open a page, run the body of a function in it, and return the object that this returns."""
    copy = folder / "page.html"
    copy.write_text(page.read_text().replace("</body>", PROBE % script + "</body>"))
    command = [
        *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder}/profile", f"--window-size={width},900"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", copy.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match is not None, done.stdout[-2000:]
    found: dict[str, Any] = json.loads(
        match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    )
    assert found.pop("errors") == []
    return found


def test_the_page_of_an_image(pages: dict[str, Path], tmp_path: Path) -> None:
    script = """
      const boxes = [...document.querySelectorAll(".box")];
      const rows = [...document.querySelectorAll("#components tbody tr")];
      const input = document.querySelector("input[type=search]");
      input.value = "EXPRESS node";
      input.dispatchEvent(new Event("input"));
      const searched = rows.filter((row) => !row.hidden).map((row) => row.dataset.key);
      const box = boxes.find((box) => box.dataset.key === "node/srv/app/express");
      box.click();
      const clicked = [document.getElementById("detail").textContent,
        document.querySelector("tr.chosen").dataset.key, box.getAttribute("aria-pressed")];
      const head = document.querySelector("#components th button");
      head.click();
      const sorted = [...document.querySelectorAll("#components tbody tr")].map((row) => row.dataset.key);
      const area = boxes.reduce((sum, box) => sum + box.offsetWidth * box.offsetHeight, 0);
      const map = document.querySelector(".treemap");
      return {searched, clicked, sorted, share: area / (map.offsetWidth * map.offsetHeight),
        dots: document.querySelectorAll(".dot").length,
        hot: boxes.filter((b) => b.style.getPropertyValue("--heat") === "1.0").length,
        tabs: boxes.filter((b) => b.tabIndex === 0).length, images: document.images.length};
    """
    found = in_browser(pages["inspect"], script, tmp_path)
    assert found["searched"] == ["node/srv/app/express"]
    assert found["clicked"][0].startswith("node/srv/app/express 4.18.2, ")
    assert found["clicked"][1:] == ["node/srv/app/express", "true"]
    assert found["sorted"] == sorted(found["sorted"], key=str.lower)
    assert found["share"] == pytest.approx(1, abs=0.1)
    assert found["dots"] >= 2
    assert found["hot"] >= 1
    assert found["tabs"] == 1
    assert found["images"] == 0


def test_the_arrow_keys(pages: dict[str, Path], tmp_path: Path) -> None:
    """Each goes to the box that touches the middle of that side, none leaves the map, and all are reached."""
    script = """
      const boxes = [...document.querySelectorAll(".box")];
      const steps = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]};
      const wrong = [], edges = {}, reached = new Set([boxes[0]]);
      for (const box of reached) {
        for (const [key, [right, down]] of Object.entries(steps)) {
          box.focus();
          box.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
          const to = document.activeElement;
          const [a, b] = [box.getBoundingClientRect(), to.getBoundingClientRect()];
          if (to === box) {
            edges[key] = (edges[key] ?? 0) + 1;
            const map = document.querySelector(".treemap").getBoundingClientRect();
            const room = {ArrowRight: map.right - a.right, ArrowLeft: a.left - map.left,
              ArrowDown: map.bottom - a.bottom, ArrowUp: a.top - map.top}[key];
            if (room > 2) wrong.push([key, box.dataset.key, "stays"]);
            continue;
          }
          const gap = right ? (right > 0 ? b.left - a.right : a.left - b.right)
            : (down > 0 ? b.top - a.bottom : a.top - b.bottom);
          const middle = right ? (a.top + a.bottom) / 2 : (a.left + a.right) / 2;
          const touches = right ? b.top <= middle + 1 && middle <= b.bottom + 1
            : b.left <= middle + 1 && middle <= b.right + 1;
          if (Math.abs(gap) > 1 || !touches || to.getAttribute("aria-pressed") !== "true"
            || to.tabIndex !== 0 || box.tabIndex !== -1) wrong.push([key, box.dataset.key, to.dataset.key]);
          reached.add(to);
        }
      }
      return {wrong, edges, count: boxes.length, reached: reached.size};
    """
    found = in_browser(pages["inspect"], script, tmp_path)
    assert found["wrong"] == []
    assert found["reached"] == found["count"] > 8
    assert set(found["edges"]) == {"ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"}


def test_the_page_of_an_update(pages: dict[str, Path], tmp_path: Path) -> None:
    script = """
      const texts = (id) => [...document.querySelectorAll(`#${id} tbody tr`)].map((row) => row.textContent);
      return {layers: texts("layers"), components: texts("components"),
        lead: document.querySelector(".lead").textContent};
    """
    found = in_browser(pages["diff"], script, tmp_path)
    assert "downloads" in found["lead"]
    assert len(found["layers"]) == 1
    assert "unclaimed/srv/app" in found["layers"][0]
    assert [text for text in found["components"] if "unclaimed/srv/app" in text]


def test_the_page_of_a_replay(pages: dict[str, Path], tmp_path: Path) -> None:
    script = """
      const names = document.querySelectorAll(".bars > span:nth-child(3n + 1)");
      return {lines: document.querySelectorAll("svg polyline").length,
        rows: document.querySelectorAll("#more0 tbody tr").length,
        each: [...document.querySelectorAll("#every0 tbody tr:last-child td")].map((x) => x.textContent),
        scales: [...document.querySelectorAll("svg text[text-anchor=end]")].map((x) => x.textContent),
        keys: [...names].map((x) => x.textContent)};
    """
    found = in_browser(pages["simulate"], script, tmp_path)
    assert found["lines"] == 3
    assert found["rows"] == 2
    assert found["each"] == ["202608.20.0", "2026-08-20", "453.5 MB", "372.6 MB", "345.0 MB"]
    assert found["scales"] == [f"{step} MB" for step in (2, 5, 10, 20, 50, 100, 200, 500)] + [
        "1 GB",
        "2026-08-20",
    ]
    assert found["keys"] == ["32 layers", "64 layers", "bound"]


@pytest.mark.parametrize("name", ["inspect", "diff", "simulate"])
def test_a_page_is_one_file_that_fits_a_phone(name: str, pages: dict[str, Path], tmp_path: Path) -> None:
    text = pages[name].read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)|url\(|@import', text.replace(NASTY, ""))
    assert "<img" not in text
    # Chromium's windows are at least 500 pixels wide: the page is shown in a frame of 400
    frame = tmp_path / "frame.html"
    frame.write_text(text.replace("<body>", '<body style="width: 400px">'))
    script = """
      const right = document.body.getBoundingClientRect().right;
      const over = [...document.querySelectorAll("main > *, section > *")];
      return {over: over.filter((x) => x.getBoundingClientRect().right > right).map((x) => x.className)};
    """
    found = in_browser(frame, script, tmp_path, 500)
    assert found == {"over": [], "wide": False}
