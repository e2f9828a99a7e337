"""The description that the fake library reads, as values; str() of a Host is the file. README.md has the format."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ds01.core.value import replace

GIB = 1 << 30


def _line(*words: object, **settings: object) -> str:
    """Write a line; what is None is left out, what is a bool is on or off."""

    def shown(value: object) -> str:
        return ("on" if value else "off") if isinstance(value, bool) else str(value)

    named = (
        f'{name.replace("_", "-")}="{shown(value)}"'
        if " " in shown(value)
        else f"{name.replace('_', '-')}={shown(value)}"
        for name, value in settings.items()
        if value is not None
    )
    return " ".join([*map(str, words), *named])


def _settings(value: FakeGpu | FakeInstance | FakeProcess, *apart: str) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value) if field.name not in apart}


@dataclass(frozen=True, slots=True)
class FakeInstance:
    """One MIG instance; `place` is the index NVML finds it at, by default the next one."""

    uuid: str
    gi: int
    profile: str
    memory: int
    ci: int = 0
    used: int = 0
    place: int | None = None


@dataclass(frozen=True, slots=True)
class FakeGpu:
    """One physical GPU: bytes, percent, degrees Celsius, milliwatts.

    Attributes:
        mig: `none` when it cannot have any, else `off` or `on`.
        pending: the mode after the next reset; None for the one it has.
    """

    uuid: str
    name: str
    memory: int
    used: int = 0
    reserved: int = 0
    slices: int = 7
    mig: str = "none"
    pending: str | None = None
    utilisation: int | None = None
    memory_utilisation: int | None = None
    temperature: int | None = None
    fan: int | None = None
    power: int | None = None
    power_limit: int | None = None
    pci: str | None = None
    serial: str | None = None
    instances: tuple[FakeInstance, ...] = ()


@dataclass(frozen=True, slots=True)
class FakeProcess:
    """A process on a unit; `memory` is None where the driver does not say."""

    pid: int
    unit: str
    memory: int | None = None
    graphics: bool | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """Everything one file describes; `rules` are `fail` and `delay` lines as they stand there."""

    gpus: tuple[FakeGpu, ...] = ()
    processes: tuple[FakeProcess, ...] = ()
    rules: tuple[str, ...] = ()
    driver: str = "580.95.05"
    cuda: int = 13000

    def with_rules(self, *rules: str) -> Host:
        """Return the host with more failures and delays."""
        return replace(self, rules=(*self.rules, *rules))

    def with_processes(self, *processes: FakeProcess) -> Host:
        """Return the host with more processes."""
        return replace(self, processes=(*self.processes, *processes))

    @property
    def units(self) -> tuple[str, ...]:
        """The UUIDs of what can be handed out: instances, and GPUs that are not in MIG mode."""
        return tuple(
            uuid
            for gpu in self.gpus
            for uuid in ([instance.uuid for instance in gpu.instances] if gpu.mig == "on" else [gpu.uuid])
        )

    def __str__(self) -> str:
        lines = [_line("system", driver=self.driver, cuda=self.cuda)]
        for index, gpu in enumerate(self.gpus):
            lines.append(_line("gpu", index, **_settings(gpu, "instances")))
            lines += [_line("instance", index, **_settings(instance)) for instance in gpu.instances]
        lines += [_line("process", process.pid, **_settings(process, "pid")) for process in self.processes]
        return "\n".join([*lines, *self.rules, ""])
