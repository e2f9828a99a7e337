"""A server of an older DS01, as files below a root: its cron jobs, rights, logins, units, wrapper and commands.

Written for these tests in the shape that older deploys left behind; nothing of it is anybody's real configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

CHECKOUT: Final = "/opt/ds01-infra"
UNITS: Final = "/etc/systemd/system"

WRAPPER: Final = f"""\
#!/bin/bash
# DS01: stands before Docker's client. Puts what people start into their slice and says whose it is.
if [[ ${{1-}} == run || ${{1-}} == create ]]; then
    verb=$1
    shift
    who=$(id -un)
    sudo -n {CHECKOUT}/scripts/system/create-user-slice.sh student "$who" 2>/dev/null
    part=${{who%%@*}}
    exec /usr/bin/docker "$verb" --cgroup-parent="ds01-student-${{part//[^A-Za-z0-9_]/_}}.slice" \\
        --label ds01.user="$who" --label ds01.managed=true "$@"
fi
exec /usr/bin/docker "$@"
"""
DROP_IN: Final = "[Slice]\nCPUQuota=9600%\nMemoryMax=96G\nMemoryHigh=86G\nTasksMax=12288\n"

FILES: Final = {
    "/etc/cron.d/ds01-maintenance": (
        "SHELL=/bin/bash\n"
        f"INFRA_ROOT={CHECKOUT}\n"
        "# people's containers\n"
        "20 * * * * root $INFRA_ROOT/scripts/monitoring/check-idle-containers.sh >> /var/log/ds01/idle.log 2>&1\n"
        "35 * * * * root $INFRA_ROOT/scripts/maintenance/enforce-max-runtime.sh\n"
        "*/15 * * * * root bash -c 'source $INFRA_ROOT/config/permissions-manifest.sh'\n"
        "0 3 * * * root $INFRA_ROOT/scripts/monitoring/health.sh\n"
    ),
    "/etc/sudoers.d/ds01-user-slice": (
        f"# people make their slices\n%docker ALL=(root) NOPASSWD: {CHECKOUT}/scripts/system/create-user-slice.sh\n"
    ),
    "/etc/sudoers.d/ds01-docker-group": (f"ALL ALL=(root) NOPASSWD: {CHECKOUT}/scripts/system/add-user-to-docker.sh\n"),
    "/etc/profile.d/ds01-quota-greeting.sh": f'python3 {CHECKOUT}/scripts/docker/get_resource_limits.py "$USER"\n',
    "/etc/profile.d/ds01-gpu-awareness.sh": 'export CUDA_VISIBLE_DEVICES=""\n',
    "/etc/logrotate.d/ds01": "/var/log/ds01/*.log {\n    daily\n    rotate 30\n    missingok\n}\n",
    "/etc/udev/rules.d/99-ds01-nvidia.rules": 'KERNEL=="nvidia[0-9]*", MODE="0666"\n',
    "/etc/modprobe.d/nvidia-permissions.conf": "# DS01: open devices\noptions nvidia NVreg_DeviceFileMode=438\n",
    "/etc/ds01-motd": "The server rests on Sunday.\n",
    f"{UNITS}/ds01.slice": (
        "[Unit]\nDescription=DS01 Container Slice\n\n[Slice]\nCPUAccounting=true\nMemoryAccounting=true\n"
    ),
    f"{UNITS}/ds01-student.slice": (
        "[Unit]\nDescription=DS01 Student Group\n\n[Slice]\nSlice=ds01.slice\nCPUAccounting=true\nTasksMax=40000\n"
    ),
    f"{UNITS}/ds01-student-alice.slice": (
        "[Unit]\nDescription=DS01 Student - alice (alice)\n\n[Slice]\nSlice=ds01-student.slice\nMemoryAccounting=true\n"
    ),
    f"{UNITS}/ds01-student-alice.slice.d/10-resource-limits.conf": DROP_IN,
    f"{UNITS}/ds01-student-gone.slice.d/10-resource-limits.conf": DROP_IN,
    f"{UNITS}/ds01-exporter.service": (
        "[Unit]\nDescription=DS01 Exporter\n\n"
        f"[Service]\nExecStart=/usr/bin/python3 {CHECKOUT}/monitoring/exporter/ds01_exporter.py\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    ),
    f"{UNITS}/ds01-workload-detector.service": (
        "[Unit]\nDescription=DS01 Workloads\n\n[Service]\nType=oneshot\n"
        f"ExecStart={CHECKOUT}/scripts/monitoring/detect-workloads.py\n"
    ),
    f"{UNITS}/ds01-workload-detector.timer": "[Timer]\nOnUnitActiveSec=30s\n\n[Install]\nWantedBy=timers.target\n",
    "/usr/local/bin/docker": WRAPPER,
    "/usr/local/bin/user-setup": f"#!/bin/bash\nexec {CHECKOUT}/scripts/user/wizards/user-setup\n",
}
LINKS: Final = {
    "/usr/local/bin/container-create": f"{CHECKOUT}/scripts/user/atomic/container-create",
    "/usr/local/bin/ds01-generate-limits": f"{CHECKOUT}/scripts/system/generate-user-slice-limits.py",
    f"{UNITS}/multi-user.target.wants/ds01-exporter.service": f"{UNITS}/ds01-exporter.service",
    f"{UNITS}/timers.target.wants/ds01-workload-detector.timer": f"{UNITS}/ds01-workload-detector.timer",
}
# What is in the way of nothing, but breaks when the older scripts go.
CALLERS: Final = {
    "/etc/pam.d/common-session": f"session optional pam_exec.so {CHECKOUT}/scripts/system/pam-add-docker-group.sh\n",
}
# Others' own, which must never be taken for the older DS01's.
OTHERS: Final = {
    "/etc/cron.d/backup": "0 1 * * * root /usr/local/bin/backup\n",
    "/etc/profile.d/lang.sh": "export LANG=C.UTF-8\n",
    f"{UNITS}/backup.service": "[Service]\nExecStart=/usr/local/bin/backup\n",
    "/usr/local/bin/backup": "#!/bin/sh\ntar -cf /backup.tar /home\n",
    "/usr/local/bin/help": "#!/bin/sh\necho ask the help desk\n",
}
# What this DS01 writes itself, so that it is taken over and never removed.
OURS: Final = frozenset(
    {
        "/etc/logrotate.d/ds01",
        f"{UNITS}/ds01.slice",
        f"{UNITS}/ds01-student.slice",
        f"{UNITS}/ds01-student-alice.slice.d/10-resource-limits.conf",
    }
)
OLDER: Final = tuple(sorted(path for path in (*FILES, *LINKS) if path not in OURS))


def lay_older(root: Path) -> None:
    """Make a root look like a server of an older DS01."""
    for path, text in (FILES | CALLERS | OTHERS).items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # it may be a link to this machine's own program
        file.write_text(text)
        file.chmod(0o755 if "/bin/" in path else 0o440 if "/sudoers.d/" in path else 0o644)
    for path, goal in LINKS.items():
        link = root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(goal)
