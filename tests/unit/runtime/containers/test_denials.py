"""Ten refusals an hour are told in full."""

from __future__ import annotations

from ds01.runtime.containers.denials import Denials, Telling, one_more


def test_ten_in_full_then_a_number_until_the_hour_is_over():
    denials, told = Denials(), []
    for second in range(12):
        denials, telling = one_more(denials, 1000.0 + second)
        told.append(telling)
    assert told[:10] == [Telling(in_full=True, number=number, unsaid=0) for number in range(1, 11)]
    assert told[10:] == [
        Telling(in_full=False, number=11, unsaid=0),
        Telling(in_full=False, number=12, unsaid=1),
    ]
    assert denials == Denials(tuple(1000.0 + second for second in range(10)), 2)
    denials, telling = one_more(denials, 1000.0 + 3600)
    assert telling == Telling(in_full=True, number=10, unsaid=2)
    assert denials == Denials((*(1000.0 + second for second in range(1, 10)), 4600.0), 0)


def test_a_clock_that_was_set_back_forgets_what_lies_ahead():
    denials, telling = one_more(Denials((5000.0, 900.0), 3), 1000.0)
    assert denials == Denials((900.0, 1000.0))
    assert telling == Telling(in_full=True, number=2, unsaid=3)
