"""Machines on which the checkout lies ready: /srv/ds01 with its .venv, a host file, and people with accounts.

What takes long is done once and kept as an image of its own, so such a machine is up as fast as any other.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from tests.lab.machine.accounts import Accounts, make_accounts
from tests.lab.machine.artefact import Artefact, one_build, recipe_hash
from tests.lab.machine.build import ensure_built
from tests.lab.machine.checkout import CHECKOUT, host_file, pack_checkout, unix_groups
from tests.lab.machine.errors import LabError
from tests.lab.machine.image import GUEST, image_artefact
from tests.lab.machine.machine import Machine
from tests.lab.machine.settings import Bootable, Cache, Hardware, Suite
from tests.lab.machine.steps import Steps, say

from ds01.core.override import override
from ds01.wheelhouse import LOCK, NAME, fill

PLACE: Final = "/srv/ds01"
RECIPE: Final = 1  # raise it when what this module does makes another image
_KEPT: Final = ("inv", LOCK, "requirements/host.txt")
_PREPARE: Final = GUEST / "prepare.sh"
_MARK: Final = "/var/lib/lab-checkout"  # there once the checkout is whole and on disk
_PREPARE_SECONDS: Final = 600
_WHEELS_BYTES: Final = 1 << 30
_IMAGE_BYTES: Final = 3 << 30


class PreparedMachine(Machine):
    """A machine that gets the checkout as it is now when it is first up; what is done to it there stays."""

    def __init__(self, name: str, suite: Suite, bootable: Bootable, hardware: Hardware, *, cache: Cache) -> None:
        super().__init__(name, bootable, hardware, cache=cache)
        self._host_file: Final = host_file(suite, hardware)

    @override
    def up(self) -> None:
        """Boot, and bring the checkout when the disk is new.

        Raises:
            LabError: as a machine's, or the checkout cannot be brought.
        """
        super().up()
        if self.run(["test", "-e", _MARK]).ok:
            return
        with tempfile.NamedTemporaryFile(dir=self.folder.scratch) as archive:
            pack_checkout(Path(archive.name))
            self.must(["tar", "-xpf", "-", "-C", PLACE], stdin=Path(archive.name))
        self.must(["tee", f"{PLACE}/inventory/hosts/lab.yaml"], stdin=self._host_file)
        self.script(f"sync; touch {_MARK}; sync")


def wheels_artefact(cache: Cache) -> Artefact:
    """Return where the packages of the lock are, or will be: a tar file of wheels for the Pythons of all suites."""
    stamp = recipe_hash(str(RECIPE), (CHECKOUT / LOCK).read_text(), *(suite.python for suite in Suite))
    return Artefact("wheels", cache.folder / f"wheels-{stamp}.tar", _WHEELS_BYTES)


def prepared_artefact(cache: Cache, suite: Suite) -> Artefact:
    """Return where the prepared image is, or will be."""
    texts = [(CHECKOUT / name).read_text() for name in _KEPT]
    people = repr(make_accounts(unix_groups()))
    base = image_artefact(cache, suite).path.name
    stamp = recipe_hash(str(RECIPE), base, wheels_artefact(cache).path.name, *texts, _PREPARE.read_text(), people)
    return Artefact(f"prepared-{suite}", cache.folder / f"prepared-{suite}-{stamp}.ext4", _IMAGE_BYTES)


def ensure_prepared(suite: Suite, cache: Cache) -> Bootable:
    """Return kernel and prepared image of a suite, making what is missing.

    Raises:
        Ds01Error: it cannot be made; the message names the cause and the log.
    """
    plain = ensure_built(suite, cache)
    wheels, image = wheels_artefact(cache), prepared_artefact(cache, suite)
    if not image.ready:
        with one_build(cache):
            if not wheels.ready:
                _gather(cache, wheels)
            if not image.ready:
                _prepare(cache, image, plain, wheels.path)
        say(f"{suite} with the checkout is ready in {cache.folder}")
    return Bootable(plain.kernel, image.path)


def _gather(cache: Cache, artefact: Artefact) -> None:
    steps = Steps.begin(artefact.what, cache.log(artefact.what))
    with artefact.workshop(cache) as work:
        fill(work / NAME, CHECKOUT / LOCK, [suite.python for suite in Suite], steps.log)
        steps.run("packing", ["tar", "-C", work, "--owner=0", "--group=0", "-cf", work / "wheels.tar", NAME])
        artefact.publish(work / "wheels.tar", mode=0o444)


def _prepare(cache: Cache, artefact: Artefact, plain: Bootable, wheels: Path) -> None:
    steps = Steps.begin(artefact.what, cache.log(artefact.what))
    with artefact.workshop(cache) as work:
        image = work / "image.ext4"
        steps.run("copying the image", ["cp", "--sparse=always", "--no-preserve=mode", plain.image, image])
        say(f"{artefact.what}: making .venv inside ...")
        machine = Machine("prepare", Bootable(plain.kernel, image), Hardware(writes_image=True), cache=Cache(work))
        with machine:
            _furnish(machine, wheels, make_accounts(unix_groups()))
            done = machine.run(["bash", "-s"], stdin=_PREPARE.read_bytes(), timeout_seconds=_PREPARE_SECONDS)
            if not done.ok:
                pip = machine.run(["tail", "-n", "20", f"{PLACE}/.venv/build.log"]).stdout
                raise LabError(f"the lab's {artefact.what} cannot be made", f"{done.stdout}{done.stderr}{pip}")
        artefact.publish(image, mode=0o444)


def _furnish(machine: Machine, wheels: Path, accounts: Accounts) -> None:
    machine.must(["mkdir", "-p", PLACE])
    machine.must(["tar", "-xpf", "-", "-C", PLACE], stdin=wheels)
    for name in _KEPT:
        machine.push(CHECKOUT / name, f"{PLACE}/{name}")
    for file in ("passwd", "shadow", "group"):
        machine.must(["tee", "-a", f"/etc/{file}"], stdin=str(getattr(accounts, file)))
    for home, uid in accounts.homes.items():
        script = 'cp -rT /etc/skel "$1" && chown -R "$2:$2" "$1" && chmod 0750 "$1"'
        machine.must(["sh", "-c", script, "sh", home, str(uid)])
