"""Every absolute path DS01 uses on a host, below a root that is an argument.

Computes names only; nothing is opened or created here.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ds01.core.value import dataclass


@dataclass(frozen=True, slots=True)
class HostPaths:
    """The host's paths below `root` (`/` on the machine itself, any folder for a trial run)."""

    root: Path = Path("/")

    def at(self, target: PurePosixPath | str) -> Path:
        """Return where an absolute target path lies below the root."""
        return self.root / str(target).lstrip("/")

    @property
    def is_live(self) -> bool:
        """Whether this is the running machine rather than a folder."""
        return self.root.resolve() == Path("/")

    @property
    def policy(self) -> Path:
        """The compiled policy that the runtime reads."""
        return self.at("/etc/ds01/policy.json")

    @property
    def deploy(self) -> Path:
        """State of the deployer: manifest, generations, journal, lock."""
        return self.at("/var/lib/ds01/deploy")

    @property
    def gpu_state(self) -> Path:
        """Who holds which GPU, and who waits for one."""
        return self.at("/var/lib/ds01/gpu-state.json")

    @property
    def gpu_lock(self) -> Path:
        """Held while that is changed; never replaced."""
        return self.at("/var/lib/ds01/gpu-state.lock")

    @property
    def releases(self) -> Path:
        """The installed releases of the runtime, a folder each."""
        return self.at("/opt/ds01/releases")

    @property
    def units(self) -> Path:
        """Where local systemd units and drop-ins live."""
        return self.at("/etc/systemd/system")

    @property
    def cgroup(self) -> Path:
        """Mount point of the control groups."""
        return self.at("/sys/fs/cgroup")

    @property
    def proc(self) -> Path:
        """Mount point of procfs."""
        return self.at("/proc")

    @property
    def subuids(self) -> Path:
        """Which accounts have which further uids, for user namespaces of their own."""
        return self.at("/etc/subuid")

    @property
    def events(self) -> Path:
        """The log of events, one JSON object a line."""
        return self.at("/var/log/ds01/events.jsonl")

    @property
    def engine(self) -> Path:
        """Docker's socket, which every client knows; the gateway's on a host that has one."""
        return self.at("/run/docker.sock")

    @property
    def engine_behind_gateway(self) -> Path:
        """The engine's own socket on a host where the gateway has the usual one."""
        return self.at("/run/docker-real.sock")

    @property
    def gpu_topology(self) -> Path:
        """Cache of the GPUs and MIG instances there are; gone with a reboot."""
        return self.at("/run/ds01/gpu-topology.json")

    @property
    def rates(self) -> Path:
        """CPU rates of the last minute, by slice; gone with a reboot."""
        return self.at("/run/ds01/rates.json")

    @property
    def pressure(self) -> Path:
        """Memory pressure of every account's slice at the last look; gone with a reboot."""
        return self.at("/run/ds01/pressure.json")

    def notices(self, uid: int) -> Path:
        """What an account is to be told when it logs in next."""
        return self.at(f"/var/lib/ds01/notices/{uid}")

    @property
    def pages(self) -> Path:
        """What each account was promised and refused of late, a file and a lock for each uid; root's alone."""
        return self.at("/var/lib/ds01/pages")

    @property
    def docker_client(self) -> Path:
        """The real docker command, below the one of DS01's in /usr/local/bin."""
        return self.at("/usr/bin/docker")

    @property
    def docker_client_seen(self) -> Path:
        """Cache of which version that is; gone with a reboot."""
        return self.at("/run/ds01/docker-client.json")

    @property
    def docker_helper(self) -> Path:
        """What the docker command asks through sudo; only on a host without a gateway."""
        return self.at("/usr/local/sbin/ds01-docker-helper")

    @property
    def notices_folder(self) -> Path:
        """All accounts' notices, a file for each uid."""
        return self.at("/var/lib/ds01/notices")

    @property
    def containers(self) -> Path:
        """Every container there is, whose it is and how that is known; root's alone."""
        return self.at("/var/lib/ds01/containers.json")

    @property
    def container_owners(self) -> Path:
        """Whose each container is, as other programs read it."""
        return self.at("/var/lib/ds01/opa/container-owners.json")

    @property
    def claims(self) -> Path:
        """Whose containers are that no label gives to anybody, as an administrator said."""
        return self.at("/var/lib/ds01/claims.json")

    @property
    def claims_lock(self) -> Path:
        """Held while they are changed; never replaced."""
        return self.at("/var/lib/ds01/claims.lock")

    @property
    def event_cursor(self) -> Path:
        """Up to which of the engine's events everything is in the log."""
        return self.at("/var/lib/ds01/event-cursor.json")

    @property
    def host_processes(self) -> Path:
        """What computes on GPUs outside containers."""
        return self.at("/var/lib/ds01/host-processes.json")

    @property
    def bare_metal_grants(self) -> Path:
        """Who may do so, and until when."""
        return self.at("/var/lib/ds01/bare-metal-grants.json")

    @property
    def gpu_activity(self) -> Path:
        """When each unit of a GPU was last seen busy; gone with a reboot."""
        return self.at("/run/ds01/gpu-activity.json")

    @property
    def lists(self) -> Path:
        """Until when, and for whom not, DS01's label alone tells what `docker ps` shows; gone with a reboot."""
        return self.at("/run/ds01/lists")

    @property
    def lifecycle(self) -> Path:
        """What the rules of lifecycle remember from one sweep to the next."""
        return self.at("/var/lib/ds01/lifecycle")

    @property
    def jobs(self) -> Path:
        """How each job ended last, a file and a lock for each."""
        return self.at("/var/lib/ds01/jobs")

    @property
    def cron(self) -> Path:
        """Which jobs cron starts for DS01, and when."""
        return self.at("/etc/cron.d/ds01")

    @property
    def terminals(self) -> Path:
        """The terminals of sessions, a device for each."""
        return self.at("/dev/pts")
