"""Renders pages: what all templates know."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Flask, render_template, request, session
from markupsafe import Markup

from services.api.console import words
from services.api.console.navigation import areas
from services.api.console.visitor import may, visitor
from shared.auth.keys import Scope


def init_app(app: Flask) -> None:
    """Teach the templates."""
    app.jinja_env.filters["moment"] = moment
    app.jinja_env.filters["percent"] = percent
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def page(template: str, **values: Any) -> str:
    """A page, or a part of one, in the language of who looks at it."""
    return render_template(
        f"console/{template}",
        _=words.say,
        language=words.language(),
        theme=session.get("theme", "auto"),
        visitor=visitor(),
        may=may,
        areas=areas,
        Scope=Scope,
        is_fragment=bool(request.headers.get("HX-Request")),
        **values,
    )


def moment(at: dt.datetime | None) -> str | Markup:
    """A time, which the script shows in the time zone of the browser."""
    if at is None:
        return "–"
    utc = at.astimezone(dt.UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        utc.isoformat(timespec="seconds"), utc.strftime("%Y-%m-%d %H:%M")
    )


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1, in percent."""
    return "–" if share is None else f"{share * 100:.{digits}f}\N{NO-BREAK SPACE}%"
