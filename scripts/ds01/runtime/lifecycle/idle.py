"""Which containers are idle, and when they are warned and stopped. Pure: what was seen in, decisions out.

A container is idle when its GPUs, its CPU and its network have been quiet since the check before. What cannot be told
is not quiet. It is stopped when enough checks in a row found it idle, for long enough, and its owner was told before.
What its restart policy brings back is the same run, and is judged by what it does since.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ds01.core.rules import Mode
from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.runtime.containers.container import LIVE
from ds01.runtime.containers.start import after, goes_on
from ds01.runtime.lifecycle.decision import (
    Action,
    Decision,
    Decisions,
    LifecycleRule,
    Moment,
    Remark,
    Subject,
    clock,
    decided,
    key_of,
    spoken,
    untouchable,
    would_be,
)
from ds01.runtime.lifecycle.idle_memory import GpuSign, IdleMemory, Spell
from ds01.runtime.lifecycle.settings import LifecycleRules

# Nothing can be said of what a container used in less.
_SHORTEST_SECONDS: Final = 1.0
# Between the warning and the stop, as a part of the timeout; a later check is needed besides.
WARNED_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class IdleSight:
    """One container as a check sees it; a text is why something cannot be told.

    Attributes:
        cpu_usec: used since its process was started. Source: cgroup v2, cpu.stat, usage_usec.
        network_bytes: in and out, its loopback left out; None when it shares the host's network.
        gpus: activity of the units it has; empty when it has none.
        keep_alive: whether there is a .keep-alive file in its workspace; None when it has no workspace just now, and
            what the last check found holds.
    """

    subject: Subject
    cpu_usec: int | str
    network_bytes: int | str | None
    gpus: Mapping[str, GpuSign] | str
    keep_alive: bool | str | None = False

    @property
    def may_be_kept(self) -> bool:
        """Whether there is a .keep-alive file, or may be one."""
        return self.keep_alive is not False and self.keep_alive is not None

    @property
    def has_gpu(self) -> bool:
        """Whether it holds a GPU, as far as is known."""
        return bool(self.gpus)


@dataclass(frozen=True, slots=True)
class IdleSweep:
    """What one sweep decides, and what is to be remembered of it once that was done."""

    decisions: Decisions
    memory: IdleMemory


@dataclass(frozen=True, slots=True)
class _Judged:
    spell: Spell | None
    decision: Decision | None = None
    words: str = ""
    cleared: bool = False


def sweep_idle(
    sights: Sequence[IdleSight],
    memory: IdleMemory,
    rules: LifecycleRules,
    moment: Moment,
    *,
    demand: float | None,
    unseen: Collection[str] = (),
) -> IdleSweep:
    """Decide about every container.

    Args:
        demand: share of the GPU units that are allocated; None when that cannot be told, and then it is not high.
        unseen: ids of containers that cannot be told more of: nothing is decided, and nothing forgotten, about them.

    Returns:
        The memory has nobody warned yet that was not before: idle_memory.settle() notes what was really done.
    """
    mode = rules.mode(LifecycleRule.IDLE)
    known = memory.of(moment.boot)
    if mode is Mode.OFF:
        return IdleSweep(Decisions(cleared=_cleared(memory.spells)), IdleMemory(moment.boot))
    judged = {key: _unseen(spell, mode) for key, spell in known.items() if key in unseen} | {
        each.subject.id: _judge(each, known.get(each.subject.id), rules, moment, demand=demand) for each in sights
    }
    # What was said before the machine was booted is of runs that are over.
    over = {} if memory.boot == moment.boot else dict(memory.spells)
    gone = {key: spell for key, spell in known.items() if key not in judged or judged[key].spell is None}
    calmed = {key: known[key] for key, each in judged.items() if each.cleared and key in known}
    decisions = Decisions(
        wanted=tuple(each.decision for each in judged.values() if each.decision is not None),
        remarks=tuple(
            Remark(each.subject.name, each.subject.user, words)
            for each in sights
            if (words := judged[each.subject.id].words)
        ),
        cleared=_cleared({**over, **gone, **calmed}),
    )
    spells = {key: each.spell for key, each in judged.items() if each.spell is not None}
    return IdleSweep(decisions, IdleMemory(moment.boot, spells))


def busy_since_then(sight: IdleSight, spell: Spell, rules: LifecycleRules, moment: Moment) -> str | None:
    """Return why a container is idle no more than it was at the last check; None when it is.

    For the look right before it is stopped, which may come much later than the sweep. A .keep-alive file that has come
    since then holds it too, as its owner was promised; for how long, the next sweep says.
    """
    if sight.may_be_kept and spell.kept_since is None:
        unknown = isinstance(sight.keep_alive, str)
        return "it may have a .keep-alive file now" if unknown else "it has a .keep-alive file now"
    return None if moment.awake_seconds - spell.checked_at < _SHORTEST_SECONDS else _busy(sight, spell, rules, moment)


def _cleared(spells: Mapping[str, Spell]) -> tuple[tuple[str, str], ...]:
    """Return the words that hold no more: their containers are gone, or busy."""
    return tuple((spell.user, key_of(LifecycleRule.IDLE, key)) for key, spell in spells.items() if _was_told(spell))


def _was_told(spell: Spell) -> bool:
    return spell.told or spell.warned_at is not None


def _judge(
    sight: IdleSight, known: Spell | None, rules: LifecycleRules, moment: Moment, *, demand: float | None
) -> _Judged:
    exempt = _exempt(sight.subject)
    if exempt is not None:
        return _Judged(None, words=exempt)
    start = sight.subject.start
    if known is None or start is None or not goes_on(known.start, start) or known.user != sight.subject.user:
        return _Judged(_begun(sight, moment), words="it is watched from now on", cleared=True)
    if moment.awake_seconds - known.checked_at < _SHORTEST_SECONDS:
        return _Judged(known, words="it was looked at a moment ago")
    why = _busy(sight, known, rules, moment)
    kept_since = _kept_since(sight, known, moment)
    if why is None and kept_since is not None:
        left = rules.keep_alive_max_seconds - (moment.awake_seconds - kept_since)
        why = _kept(sight, moment, left) if left > 0 else None
    spell = replace(_noted(sight, known, moment), kept_since=kept_since)
    if why is not None:
        calm = replace(spell, idle_since=None, checks=0, warned_at=None, promised=None, told=False)
        return _Judged(calm, words=why, cleared=True)
    idle_since = moment.awake_seconds if spell.idle_since is None else spell.idle_since
    spell = replace(spell, idle_since=idle_since, checks=spell.checks + 1)
    return _decided(sight, spell, rules, moment, demand=demand, step=moment.awake_seconds - known.checked_at)


def _unseen(spell: Spell, mode: Mode) -> _Judged:
    """Return what becomes of a container that a check could not see."""
    if mode is Mode.ENFORCE:
        return _Judged(spell)
    # As for all others: whoever enforces it again warns again.
    return _Judged(replace(spell, warned_at=None, promised=None), cleared=spell.warned_at is not None)


def _exempt(subject: Subject) -> str | None:
    """Return why a container is not watched at all."""
    why = untouchable(subject)
    if why is not None:
        return why
    state = subject.seen.container.state
    if state not in LIVE:
        return f"it is {state.value}"
    if subject.user is None or subject.times is None:
        return "nobody can be charged for it, so nobody's limits hold"
    return "no idle timeout holds for it" if subject.times.idle_timeout is None else None


def _begun(sight: IdleSight, moment: Moment) -> Spell | None:
    subject, now = sight.subject, moment.awake_seconds
    start = subject.start
    if start is None or subject.user is None:
        return None
    spell = Spell(subject.user, start, now - subject.awake_age(moment), checked_at=now)
    return replace(_noted(sight, spell, moment), kept_since=now if sight.may_be_kept else None)


def _noted(sight: IdleSight, spell: Spell, moment: Moment) -> Spell:
    """Return a spell with what this check found."""
    return replace(
        spell,
        start=spell.start if sight.subject.start is None else after(spell.start, sight.subject.start),
        checked_at=moment.awake_seconds,
        cpu_usec=None if isinstance(sight.cpu_usec, str) else sight.cpu_usec,
        network_bytes=None if isinstance(sight.network_bytes, str) else sight.network_bytes,
        gpus={} if isinstance(sight.gpus, str) else dict(sight.gpus),
    )


# --- Is it busy? ------------------------------------------------------------------------------------------------------


def _busy(sight: IdleSight, spell: Spell, rules: LifecycleRules, moment: Moment) -> str | None:
    """Return why a container is not idle; None when it is."""
    why = _just_started(sight.subject, spell, rules, moment) or _gpu_busy(
        sight.gpus, spell.gpus, rules.idle_gpu_percent
    )
    if why is not None or sight.subject.is_coming_back:
        # Without a process it uses nothing else.
        return why
    elapsed, cpu, network = moment.awake_seconds - spell.checked_at, spell.cpu_usec, spell.network_bytes
    start = sight.subject.start
    if start is None or start.started_at != spell.start.started_at:
        # Brought back since: it is counted anew from 0, and what it used before that is gone with its control group.
        age = sight.subject.age_seconds or 0.0
        elapsed, cpu, network = min(elapsed, max(age, _SHORTEST_SECONDS)), 0, 0
    return _cpu_busy(sight.cpu_usec, cpu, elapsed, rules.idle_cpu_percent) or _network_busy(
        sight.network_bytes, network, elapsed, rules.idle_network
    )


def _just_started(subject: Subject, spell: Spell, rules: LifecycleRules, moment: Moment) -> str | None:
    if subject.age_seconds is None and not subject.is_coming_back:
        return "it cannot be told how long it has run"
    awake = moment.awake_seconds - spell.began_at
    if awake < rules.start_grace_seconds:
        return f"it started {spoken(max(0, awake))} ago; {spoken(rules.start_grace_seconds)} are its grace"
    return None


def _gpu_busy(now: Mapping[str, GpuSign] | str, before: Mapping[str, GpuSign], percent: float) -> str | None:
    if isinstance(now, str):
        return f"GPU activity cannot be told: {now}"
    for uuid, sign in now.items():
        last = before.get(uuid)
        if sign.unknown is not None:
            return f"activity of {uuid} cannot be told: {sign.unknown}"
        if last is None or last.since != sign.since:
            return f"{uuid} has not been watched since the last check"
        # Not which is later: a clock may have been set in between, and only what is seen busy changes this time.
        if sign.busy_at is not None and sign.busy_at != last.busy_at:
            return f"GPU {uuid} was at {percent:g} % or more at {clock(sign.busy_at)}"
    return None


def _cpu_busy(now: int | str, before: int | None, elapsed: float, percent: float) -> str | None:
    if isinstance(now, str):
        return f"its CPU time cannot be told: {now}"
    if before is None or now < before:
        return "its CPU time was not counted at the last check"
    used = (now - before) / 1_000_000 / elapsed * 100
    return f"it used {used:.1f} % of a CPU" if used >= percent else None


def _network_busy(now: int | str | None, before: int | None, elapsed: float, most: float) -> str | None:
    if now is None:
        # It shares the host's network, where nobody's traffic can be told from another's.
        return None
    if isinstance(now, str):
        return f"its network traffic cannot be told: {now}"
    if before is None or now < before:
        return "its network traffic was not counted at the last check"
    rate = (now - before) / elapsed
    return f"it moved {rate / 1000:.1f} kB/s over the network" if rate >= most else None


def _kept_since(sight: IdleSight, spell: Spell, moment: Moment) -> float | None:
    """Return since when a .keep-alive file has been there at every check; one that cannot be told may be there."""
    if sight.keep_alive is False:
        return None
    if sight.keep_alive is None:
        return spell.kept_since
    return moment.awake_seconds if spell.kept_since is None else spell.kept_since


def _kept(sight: IdleSight, moment: Moment, left: float) -> str:
    until = clock(moment.after(left))
    if isinstance(sight.keep_alive, str):
        return f"whether it has a .keep-alive file cannot be told: {sight.keep_alive}; it holds until {until}"
    return f"its .keep-alive file holds until {until}"


# --- What becomes of an idle one --------------------------------------------------------------------------------------


def _decided(
    sight: IdleSight, spell: Spell, rules: LifecycleRules, moment: Moment, *, demand: float | None, step: float
) -> _Judged:
    """Return what becomes of a container that this check found idle.

    Args:
        step: how long ago the last check was; the next one is expected after as long.
    """
    timeout, pressed = _timeout(sight, rules, demand)
    idle_for = moment.awake_seconds - (spell.idle_since or 0.0)
    due = spell.checks >= rules.idle_window and idle_for >= timeout
    soon = spell.checks + 1 >= rules.idle_window and idle_for + max(step, timeout * WARNED_SHARE) >= timeout
    words = _idle_words(sight, spell, idle_for, timeout) + pressed
    if rules.mode(LifecycleRule.IDLE) is not Mode.ENFORCE:
        # What was said while it was enforced holds no more: whoever enforces it again warns again.
        calm, withdrawn = replace(spell, warned_at=None, promised=None), spell.warned_at is not None
        if not due or spell.told:
            return _Judged(calm, words=words, cleared=withdrawn)
        return _Judged(calm, would_be(_decision(sight, Action.STOP, words, "")), cleared=withdrawn)
    if spell.warned_at is None:
        if not (due or soon):
            return _Judged(spell, words=words)
        ahead = max(timeout - idle_for, timeout * WARNED_SHARE)
        warned = _decision(sight, Action.WARN, words, _warning(sight, rules, clock(moment.after(ahead))))
        return _Judged(spell, replace(warned, ahead_seconds=ahead))
    # Also when demand has become high since, it is not stopped before the time that its owner was told.
    earliest = max(spell.warned_at + timeout * WARNED_SHARE, spell.promised or 0.0)
    if due and moment.awake_seconds >= earliest:
        said = f"container {sight.subject.called} was stopped {clock(moment.now)}: it was idle for {spoken(idle_for)}; "
        again = f"docker start {sight.subject.argument} starts it again"
        return _Judged(spell, _decision(sight, Action.STOP, words, said + again))
    return _Judged(spell, words=f"{words}; its owner was told")


def _timeout(sight: IdleSight, rules: LifecycleRules, demand: float | None) -> tuple[float, str]:
    """Return the timeout that holds now, and words for why it is shorter."""
    times = sight.subject.times
    timeout = 0.0 if times is None or times.idle_timeout is None else times.idle_timeout
    if demand is None or demand < rules.high_demand_threshold or not sight.has_gpu:
        return timeout, ""
    return timeout * rules.high_demand_factor, f"; {demand * 100:.0f} % of the GPUs are taken, so it is shorter"


def _idle_words(sight: IdleSight, spell: Spell, idle_for: float, timeout: float) -> str:
    shared = ", the host's network" if sight.network_bytes is None else ""
    return f"idle for {spoken(idle_for)} of {spoken(timeout)} ({spell.checks} checks in a row{shared})"


def _warning(sight: IdleSight, rules: LifecycleRules, earliest: str) -> str:
    name, kept = sight.subject.called, spoken(rules.keep_alive_max_seconds)
    return (
        f"container {name} is idle and is stopped after {earliest}, if it stays so; "
        f"a file .keep-alive in its workspace keeps it for up to {kept}"
    )


def _decision(sight: IdleSight, action: Action, reason: str, text: str) -> Decision:
    return decided(sight.subject, LifecycleRule.IDLE, action, reason, text)
