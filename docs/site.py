"""Builds the documentation as a site, into target/site/html, and checks its links: python3 docs/site.py [MDBOOK]

mdBook wants every page below one folder, and our pages link to sources and tests, too. So the pages of SUMMARY.md and what
they link to are copied to target/site/source, as they lie in the repository.
"""

import html.parser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
SOURCE, SITE = ROOT / "target/site/source", ROOT / "target/site/html"
LINK = re.compile(r"\]\(([^()\s]+)\)")


def linked(page):
    """The files of the repository that a page links to."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = (link.split("#")[0] for link in LINK.findall(text) if "://" not in link)
    return [os.path.normpath(os.path.join(os.path.dirname(page), target)) for target in targets if target]


def collect():
    shutil.rmtree(SOURCE.parent, ignore_errors=True)
    summary = (ROOT / "docs/SUMMARY.md").read_text(encoding="utf-8")
    place = lambda link: os.path.normpath(os.path.join("docs", link[1]))
    pages = [place(link) for link in LINK.finditer(summary)]
    for page in pages:
        for path in [page, *linked(page)]:
            if path.endswith(".md") and path not in pages:
                raise SystemExit(f"{page} links to {path}, which is not in docs/SUMMARY.md")
            if not (ROOT / path).is_file():
                raise SystemExit(f"{page} links to {path}, which is not there")
            target = SOURCE / indexed(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path in pages:
                text = (ROOT / path).read_text(encoding="utf-8")
                target.write_text(LINK.sub(lambda link: f"]({indexed(link[1])})", text), encoding="utf-8")
            else:
                shutil.copyfile(ROOT / path, target)
    contents = LINK.sub(lambda link: f"]({indexed(place(link))})", summary)
    (SOURCE / "SUMMARY.md").write_text(contents, encoding="utf-8")
    return pages


def indexed(path):
    """A README is the index of its folder in a site."""
    return path.replace("README.md", "index.md")


class Page(html.parser.HTMLParser):
    """The links of a page, and what may be linked to in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(attributes[key] for key in ("id", "name") if attributes.get(key))
        key = {"a": "href", "img": "src", "script": "src", "link": "href"}.get(tag)
        if attributes.get(key):
            self.links.append(attributes[key])


def check():
    pages = {path: Page(path) for path in SITE.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        if path.name in ("404.html", "print.html", "toc.html"):
            continue
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = unquote(link).partition("#")
            target = Path(os.path.normpath(path.parent / file)) if file else path
            if not target.exists() or (target in pages and anchor not in pages[target].anchors):
                broken.append(f"{path.relative_to(SITE)}: {link}")
    if broken:
        raise SystemExit("broken links:\n" + "\n".join(sorted(set(broken))))
    return len(pages), sum(len(page.links) for page in pages.values())


pages = collect()
subprocess.run([sys.argv[1] if len(sys.argv) > 1 else "mdbook", "build", ROOT / "docs"], check=True)
count, links = check()
print(f"{SITE.relative_to(ROOT)}: {count} pages of {len(pages)} sources, {links} links, none broken")
