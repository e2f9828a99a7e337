"""The slice drop-ins as a pyinfra user would write them: one templated file an account.

Given with --data: root (the folder that stands for /), accounts (a JSON file made by bench/peers.py).
"""

import json
from pathlib import Path

from pyinfra import host  # type: ignore[import-not-found]  # lives in bench/.venv alone
from pyinfra.operations import files  # type: ignore[import-not-found]  # as above

for account in json.loads(Path(host.data.accounts).read_text(encoding="utf-8"))["accounts"]:
    files.template(
        name=account["path"],
        src="slice.conf.j2",
        dest=host.data.root + account["path"],
        mode="644",
        jinja_env_kwargs={"trim_blocks": True},
        account=account,
    )
