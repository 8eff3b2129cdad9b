"""An offline page: a drawing whose parts tell their numbers under the pointer, and a table of all of them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from markupsafe import Markup, escape

HERE = Path(__file__).parent


def svg_element(drawn: bytes, titles: Mapping[str, str], *, more: str = "") -> Markup:
    """The `<svg>` of a file by matplotlib, which escapes what is written into it.

    titles: what the group of each id tells under the pointer. more: elements drawn above all, escaped already.
    """
    svg = drawn.decode()
    svg = svg[svg.index("<svg") :]
    for name, title in titles.items():
        place = f'<g id="{name}">'
        svg = svg.replace(place, f"{place}<title>{escape(title)}</title>", 1)
    before, end, after = svg.rpartition("</svg>")
    return Markup(before + more + end + after)


def render_offline(
    title: str,
    lead: str,
    drawing: Markup,
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    shaded: Collection[int] = (),
) -> bytes:
    """The page as a file's content.

    rows: of the table, the first being its headings; columns in `right` align right, rows in `shaded` stand out.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("offline.html")
    told = {"title": title, "lead": lead, "drawing": drawing, "rows": rows, "right": right, "shaded": shaded}
    return template.render(told).encode()
