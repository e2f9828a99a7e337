"""Ten refusals an hour are told in full; the others are counted, and told with the next that is."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from ds01.runtime.containers.denials import HOUR_SECONDS, IN_FULL, Denials, Telling, one_more

NOW = 1_772_355_600.0


def told(*instants: float, before: Denials | None = None) -> tuple[list[Telling], Denials]:
    denials, tellings = before or Denials(), []
    for instant in instants:
        denials, telling = one_more(denials, instant)
        tellings.append(telling)
    return tellings, denials


def test_the_eleventh_within_an_hour_is_only_counted() -> None:
    tellings, denials = told(*(NOW + second for second in range(13)))
    assert tellings == [
        *(Telling(in_full=True, number=number, unsaid=0) for number in range(1, 11)),
        *(Telling(in_full=False, number=11 + unsaid, unsaid=unsaid) for unsaid in range(3)),
    ]
    assert denials == Denials(tuple(NOW + second for second in range(10)), 3)


def test_the_first_after_the_hour_tells_of_those_that_were_not_told() -> None:
    _, full = told(*(NOW + second for second in range(13)))
    still, _ = told(NOW + HOUR_SECONDS - 1, before=full)
    assert still == [Telling(in_full=False, number=14, unsaid=3)]
    again, after = told(NOW + HOUR_SECONDS, before=full)
    assert again == [Telling(in_full=True, number=10, unsaid=3)]
    assert after == Denials((*full.times[1:], NOW + HOUR_SECONDS), 0)


def test_a_clock_that_was_set_back_silences_nobody() -> None:
    _, full = told(*(NOW + second for second in range(13)))
    assert told(NOW - 1, before=full) == ([Telling(in_full=True, number=1, unsaid=3)], Denials((NOW - 1,), 0))


@given(st.lists(st.floats(0, 600), max_size=60))
def test_no_hour_has_more_than_ten_in_full_and_none_is_forgotten(gaps: list[float]) -> None:
    instants = list(accumulate(gaps, initial=NOW))
    tellings, denials = told(*instants)
    full = [at for at, each in zip(instants, tellings, strict=True) if each.in_full]
    assert all(sum(end - HOUR_SECONDS < each <= end for each in full) <= IN_FULL for end in instants)
    assert sum(each.unsaid for each in tellings if each.in_full) + denials.unsaid == len(instants) - len(full)
