"""The caller of these tests is an ordinary account behind sudo, whoever runs them."""

from __future__ import annotations

import os
import pwd

import pytest


@pytest.fixture(autouse=True)
def student(monkeypatch: pytest.MonkeyPatch) -> str:
    """Who calls: the account `games`, as sudo says where root runs the tests."""
    if os.getuid() == 0:
        monkeypatch.setenv("SUDO_UID", str(pwd.getpwnam("games").pw_uid))
        return "games"
    monkeypatch.delenv("SUDO_UID", raising=False)
    return pwd.getpwuid(os.getuid()).pw_name
