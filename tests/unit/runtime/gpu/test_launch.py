"""What a container is started with: the units it was granted, by UUID, and labels from which all can be rebuilt."""

from __future__ import annotations

import csv
import shlex

from tests.unit.runtime.gpu.hosts import LAB, held

from ds01.core import labels
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.gpu.launch import docker_args, environment, gpu_labels

WHOLE = Grant(held("bob", "0", "1"), LAB.units[:2])
MIG = Grant(held("alice", "2:0"), LAB.units[2:3])


def test_a_whole_gpu_needs_no_cuda_variable_and_a_mig_instance_has_one() -> None:
    assert environment(WHOLE) == {"NVIDIA_VISIBLE_DEVICES": "GPU-0,GPU-1"}
    assert environment(MIG) == {"NVIDIA_VISIBLE_DEVICES": "MIG-20", "CUDA_VISIBLE_DEVICES": "MIG-20"}


def test_a_grant_whose_hardware_is_gone_still_names_its_units() -> None:
    assert environment(Grant(MIG.allocation, ())) == {"NVIDIA_VISIBLE_DEVICES": "MIG-20"}


def test_labels_are_read_back_as_what_was_granted() -> None:
    written = gpu_labels(WHOLE.allocation)
    owner = labels.owner(written)
    assert owner is not None
    assert (owner.name, labels.allocation_id(written)) == ("bob", WHOLE.allocation.id)
    assert (labels.gpu_uuids(written), labels.gpu_slots(written)) == (("GPU-0", "GPU-1"), ("0", "1"))


def test_a_container_of_nobody_is_labelled_with_no_owner() -> None:
    assert labels.USER not in gpu_labels(held(None, "0", name="stray"))


def test_options_survive_a_shell_that_splits_them_and_the_clients_csv() -> None:
    options = docker_args(WHOLE)
    assert " ".join(options).split() == list(options), "unquoted in a shell, each stays one word"
    ((field,),) = csv.reader([options[0].removeprefix("--gpus=")])
    assert field == "device=GPU-0,GPU-1"
    assert docker_args(MIG)[0] == "--gpus=device=MIG-20"
    assert shlex.join(docker_args(MIG)[1:]) == " ".join(docker_args(MIG)[1:])
