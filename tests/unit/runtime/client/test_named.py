"""Which containers a line names."""

from __future__ import annotations

import shlex

import pytest

from ds01.runtime.client.arguments import parse
from ds01.runtime.client.named import containers_named
from ds01.runtime.client.tables import load
from ds01.runtime.client.verbs import ELSEWHERE, VERBS

NAMED = {
    "start -ai a b": ("a", "b"),
    "restart a -t 3 b": ("a", "b"),
    "unpause a b": ("a", "b"),
    "stop -t 3 a b": ("a", "b"),
    "stop -- -a": ("-a",),
    "kill -s HUP a": ("a",),
    "pause a b": ("a", "b"),
    "rm -fv a b": ("a", "b"),
    "container remove a": ("a",),
    "exec -it a bash b": ("a",),
    "attach a": ("a",),
    "logs --tail 3 a": ("a",),
    "commit a b": ("a",),
    "rename a b": ("a",),
    "update -m 1g a b": ("a", "b"),
    "top a -ef": ("a",),
    "stats": (),
    "stats a b": ("a", "b"),
    "port a 80": ("a",),
    "wait a b": ("a", "b"),
    "diff a": ("a",),
    "export -o x a": ("a",),
    "ps -a --filter name=a": (),
    "ps -f before=a --filter 'Since = b' --filter=id=c": ("a", "b"),
    # verbs of other groups
    "network connect --alias x --ip 10.0.0.2 lab a": ("a",),
    "network connect --link b:db --link=c lab a": ("a", "b", "c"),
    "network disconnect -f lab a": ("a",),
    "network --help disconnect lab a": ("a",),
    "network disconnect lab": (),
    "network rm a": (),
    "network create a": (),
    "checkpoint create --leave-running a c1": ("a",),
    "checkpoint ls --checkpoint-dir /x a": ("a",),
    "checkpoint list a": ("a",),
    "checkpoint rm a c1": ("a",),
    "checkpoint remove a c1": ("a",),
    # a build
    "build -t a .": (),
    "build --network container:a --network=container:b .": ("a", "b"),
    "-D image build -t x --network container:a .": ("a",),
    "builder build --network container:a .": ("a",),
    "build --network host --tag container:a .": (),
    "build --network": (),
    "image tag --network container:a": (),
    "compose build --network container:a": (),
    "": (),
    # cp
    "cp a:/x .": ("a",),
    "cp ./a:b c:/x": ("c",),
    "cp /a:b c:/x": ("c",),
    "cp ../a:b .": (),
    "cp a:/x -": ("a",),
    "cp - a:/x": ("a",),
    "cp a:/x b:/y": ("a", "b"),
    "cp a b": (),
    "cp :x b:": ("b",),
    "cp -aL x a:b:c": ("a",),
    # inspect
    "inspect a b": ("a", "b"),
    "inspect --type container a": ("a",),
    "inspect --type=image a": (),
    "inspect --type volume --type=container a": ("a",),
    "inspect --type= a": ("a",),
    "container inspect -s a b": ("a", "b"),
    # run and create
    "run -d ubuntu": (),
    "run --name a ubuntu b": (),
    "run --net container:a ubuntu": ("a",),
    "run --network=container:a --network b ubuntu": ("a",),
    "create --network name=container:A,alias=b ubuntu": ("a",),
    "create --network 'alias=b,name=container:a' ubuntu": ("a",),
    'create --network \'"name=container:a","alias=b"\' ubuntu': ("a",),
    "create --network 'Name= container:a' ubuntu": ("a",),
    "create --network name=b,name=container:a ubuntu": ("a",),
    "create --network name=lab,alias=container:a ubuntu": (),
    "create --network Container:a ubuntu": (),
    "create --network host ubuntu": (),
    "create --ipc container:a --pid=container:b --uts host --userns host ubuntu": ("a", "b"),
    "create --ipc shareable --pid host --cgroupns host ubuntu": (),
    "create --volumes-from a --volumes-from=b:ro ubuntu": ("a", "b"),
    "create --link a --link b:x --link /c:y ubuntu": ("a", "b", "/c"),
    "create --ipc container:a --pid container:a --volumes-from a ubuntu": ("a",),
    "create ubuntu --volumes-from a": (),
    "run -v a:/x --env-file b --cidfile c ubuntu": (),
}


@pytest.mark.parametrize("line", NAMED)
def test_a_line_names_its_containers(line: str) -> None:
    assert containers_named(parse(shlex.split(line), load("28.2"))) == NAMED[line]


def test_every_verb_was_asked() -> None:
    asked = {parse(shlex.split(line), load("28.2")).topic for line in NAMED}
    assert asked >= {*VERBS, "container inspect", *ELSEWHERE}
