"""The people of a prepared machine, as lines of /etc/passwd, /etc/shadow and /etc/group. Pure.

Written as lines because useradd refuses names like j.doe@lab-x.org, which a directory service gives to people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_FIRST_UID: Final = 1001
_FIRST_GID_OF_GROUPS: Final = 2001
UNLISTED: Final = "guest01"  # in no list of the shipped inventory, so only their Linux group says who they are
LISTED: Final = ("alice", "bob", "student01", "j.doe@lab-x.org")
_GROUP_OF_UNLISTED: Final = "student"


@dataclass(frozen=True, slots=True)
class Accounts:
    """What is appended to each file; every line ends with a newline.

    Attributes:
        homes: home folder to the uid and gid that own it.
    """

    passwd: str
    shadow: str
    group: str
    homes: Mapping[str, int]


def make_accounts(unix_groups: Mapping[str, str]) -> Accounts:
    """Return the accounts, each with a group of its own, and the Linux groups that the policy names.

    Args:
        unix_groups: group of the policy to the Linux group it names; that of students gets the unlisted account.
    """
    uids = {name: uid for uid, name in enumerate((*LISTED, UNLISTED), _FIRST_UID)}
    passwd = [f"{name}:x:{uid}:{uid}::/home/{name}:/bin/bash" for name, uid in uids.items()]
    shadow = [f"{name}:*:19000:0:99999:7:::" for name in uids]  # no password; root's su and cron work
    group = [f"{name}:x:{uid}:" for name, uid in uids.items()]
    for gid, (name, linux) in enumerate(sorted(unix_groups.items()), _FIRST_GID_OF_GROUPS):
        group.append(f"{linux}:x:{gid}:{UNLISTED if name == _GROUP_OF_UNLISTED else ''}")
    homes = {f"/home/{name}": uid for name, uid in uids.items()}
    return Accounts(_text(passwd), _text(shadow), _text(group), homes)


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
