"""How this clone's notebooks are exported: a page of HTML asks no other host for anything.

nbconvert's pages ask for scripts that show widgets with their state, and mathematics: the notebooks
store neither. Slides need them, to load reveal.js.
"""

from nbconvert.exporters import HTMLExporter

SCRIPTS = "require_js_url", "mathjax_url", "jquery_url"

config = get_config()  # type: ignore[name-defined]  # noqa: F821
for url in SCRIPTS:
    config.HTMLExporter[url] = ""
    config.SlidesExporter[url] = getattr(HTMLExporter, url).default_value
config.SlidesExporter.reveal_scroll = True  # what one cell prints can be higher than a screen
