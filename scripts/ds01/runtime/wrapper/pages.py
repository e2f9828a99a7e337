"""The caller's page, while one of their commands is decided: what is wrong with it is logged, refusals are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ds01.core.errors import BusyError, RefusedError
from ds01.core.rules import Rule
from ds01.core.terminal import say
from ds01.runtime.containers.denials import Telling, one_more
from ds01.runtime.containers.page import Page, locked_page
from ds01.runtime.wrapper.desk import Desk, ParentError


@contextmanager
def page_of(desk: Desk) -> Iterator[Page]:
    """Hold the caller's page; that it cannot be read or kept is logged, once.

    Raises:
        BusyError: somebody else holds it for too long.
    """
    with locked_page(desk.paths.pages, desk.caller.uid) as page:
        told = page.trouble
        if told is not None:
            desk.log_open((told,), "promises")
        yield page
    if page.trouble is not None and page.trouble != told:
        desk.log_open((page.trouble,), "promises")


def count_denial(page: Page, desk: Desk) -> Telling:
    """Count one more refusal, and say how it is to be told."""
    page.denials, telling = one_more(page.denials, desk.place.machine.now().timestamp())
    return telling


def tell_refused(desk: Desk, error: RefusedError, what: str) -> None:
    """Tell of a refusal that is no question of an amount: counted and logged as those are, in words in place of a box.

    Args:
        what: the verb, for messages.
    """
    telling = Telling(in_full=True, number=0, unsaid=0)
    with suppress(BusyError), page_of(desk) as page:
        telling = count_denial(page, desk)
    rule = Rule.LIMITS if isinstance(error, ParentError) else Rule.GPU
    desk.log_refused(telling, {"rule": rule.value, "verb": what, "text": error.brief})
    if telling.in_full:
        say(f"docker: {error.render()}")
    else:
        desk.tell_often(telling, what, error.brief)
