"""`stamp explain`: what an error code or a held reason means, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from stamp import errors
from stamp.cli import output, settings
from stamp.cli.command import command
from stamp.cli.problems import not_found

PAGES = Path(__file__).resolve().parent / "pages"


def reasons() -> dict[str, str]:
    """The page of each held reason that belongs to an error."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.StampError)]
    return {kind.reason: kind.code for kind in kinds if kind.code != "E000"}


def pages() -> dict[str, str]:
    """The title of every page, by name, in order."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted(PAGES.glob("*.md"))}
    return {name: text.partition("\n")[0].lstrip("# ") for name, text in texts.items()}


def page(wanted: str) -> str:
    """The text for a code (`E023`, `e23`) or a held reason (`too-new`). Raises `Problem` when there is none."""
    name = reasons().get(wanted, wanted)
    letter = name[0].upper() if name[:1] in "eElL" and name[1:2].isdigit() else "E"
    number = name.lstrip("eElL")
    candidates = (name, f"{letter}{int(number):03d}") if number.isdecimal() and len(number) < 5 else (name,)  # noqa: PLR2004
    known = pages()
    found = next((candidate for candidate in candidates if candidate in known), None)
    if found is None:
        raise not_found(f"there is no page for {wanted!r}", fix="stamp explain lists all codes and reasons")
    return (PAGES / f"{found}.md").read_text("utf-8")


@command("explain", "stamp explain E023", "stamp explain too-new")
@click.argument("code", required=False)
@settings.output_option()
def explain(*, code: str | None, form: str) -> None:
    """Explain an error CODE or a held reason; without one, list them all."""
    if code:
        _show_page(code, form)
        return
    by_code = {name: reason for reason, name in reasons().items()}
    items = [{"code": name, "title": title, "reason": by_code.get(name)} for name, title in pages().items()]
    output.show(
        form,
        "explanations",
        items,
        name=lambda item: str(item["code"]),
        human=lambda: output.table(
            ("CODE", "HELD REASON", "MEANING"), [(item["code"], item["reason"], _meaning(item)) for item in items]
        ),
    )


def _meaning(item: Mapping[str, object]) -> str:
    return str(item["title"]).partition(": ")[2] or str(item["title"])


def _show_page(code: str, form: str) -> None:
    text = page(code)
    name = text.partition("\n")[0].lstrip("# ").partition(":")[0]
    output.show(
        form,
        "explanation",
        [{"code": name, "text": text}],
        name=lambda item: str(item["code"]),
        human=lambda: output.data(text),
    )
