"""A page of HTML without scripts or anything loaded from elsewhere, in forge's one style."""

from __future__ import annotations

from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("page.css")


def page(title: str, body: str) -> str:
    """The whole document; `body` is HTML already, `title` plain text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
