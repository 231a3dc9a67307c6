"""How the documentation is built (`make docs`): Sphinx, MyST Markdown, strictly."""

project = "CareMesh"
author = "The CareMesh authors"
copyright = "The CareMesh authors, GPL-3.0-or-later"  # noqa: A001  # Sphinx's name for it
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["adr/template.md"]
html_theme = "furo"
html_title = "CareMesh"
html_show_sphinx = False
html_copy_source = False
