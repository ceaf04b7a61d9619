"""The address of the console itself."""

from __future__ import annotations

from flask import Blueprint, redirect, url_for
from werkzeug.wrappers import Response

from services.api.console.navigation import areas
from services.api.console.visitor import visitor
from shared.errors import ForbiddenError, NotFoundError, UnauthorizedError


def add(bp: Blueprint) -> None:
    """Add it, and what is said of addresses that no page has."""
    bp.add_url_rule("/", "home", home)
    bp.add_url_rule("/<path:address>", "nowhere", nowhere)


def home() -> Response:
    """To the first page that the visitor may see.

    Raises:
        UnauthorizedError: Nobody is signed in.
        ForbiddenError: There is no page for the visitor.
    """
    if visitor() is None:
        raise UnauthorizedError
    for area in areas():
        return redirect(url_for(f"console.{area.endpoint}"))
    raise ForbiddenError("No page is for a key with these scopes.")


def nowhere(address: str) -> Response:
    """No page.

    Raises:
        NotFoundError: Always; the address is not repeated.
    """
    raise NotFoundError("No page of the console has this address.")
