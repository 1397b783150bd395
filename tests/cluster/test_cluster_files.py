"""The files in cluster/: schemas, linters, versions, and every command in them by run_study's own parser.

None of this starts a cluster; tests/cluster/test_cluster_slurm.py runs the SLURM script.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

import dks_study
from dks_study import cli
from dks_study.spec.files import load_study

REPOSITORY = Path(__file__).parents[2]
CLUSTER = REPOSITORY / "cluster"
RAYJOB = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text())
RAY_UP = yaml.safe_load((CLUSTER / "ray-up-aws.yaml").read_text())
VOLUME = yaml.safe_load((CLUSTER / "shared-volume.yaml").read_text())
RAY_CLUSTER = RAYJOB["spec"]["rayClusterSpec"]
PODS = {
    "head": RAY_CLUSTER["headGroupSpec"]["template"],
    **{group["groupName"]: group["template"] for group in RAY_CLUSTER["workerGroupSpecs"]},
}
KUBERNETES = "1.35"  # the release whose API the pods are held against


def pins():
    """Return package -> version from constraints.txt."""
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def commands(name):
    """Return what run_study.py gets in every command of a file in cluster/, its comments included."""
    if name == "rayjob.yaml":
        text = RAYJOB["spec"]["entrypoint"]
    else:
        text = re.sub(r"^# ?", "", (CLUSTER / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = re.findall(r"(?:run_study\.py|cluster/slurm\.sh) (--[^`\n]+)", text)
    return [[word for word in shlex.split(line, comments=True) if word not in ("&", "$@")] for line in found]


def tool(name):
    """Return the path of a linter that the test extra installs."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"{name} is not installed: pip install '.[test]'")
    return path


def lint(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["rayjob.yaml", "ray-up-aws.yaml", "slurm.sh", "README.md"])
def test_every_command_is_one_that_run_study_takes_and_its_study_loads(name):
    found = commands(name)
    assert found
    for words in found:
        options = cli._parser("dks-study").parse_args(words)
        load_study(options.space or "paper_cifar100", options.profile, options.set)


@pytest.mark.parametrize("name", ["rayjob.yaml", "ray-up-aws.yaml", "slurm.sh"])
def test_each_file_runs_the_cifar100_study_on_the_cluster_it_starts(name):
    (words,) = commands(name)
    options = cli._parser("dks-study").parse_args(words)
    assert (options.space, options.profile) == ("paper_cifar100", "cifar100_wrn28_10")
    assert options.address
    assert options.results


def test_the_rayjob_has_only_fields_that_kuberay_knows():
    schema = json.loads((REPOSITORY / "tests/reference/rayjob.schema.json").read_text())
    jsonschema.validate(RAYJOB, schema)
    wrong = {**RAYJOB, "spec": {**RAYJOB["spec"], "shutdownAfterJobFinish": True}}
    with pytest.raises(jsonschema.ValidationError, match="shutdownAfterJobFinish"):
        jsonschema.validate(wrong, schema)


@pytest.mark.parametrize("name", PODS)
def test_pods_are_what_the_kubernetes_api_takes(name):
    validate = pytest.importorskip("kubernetes_validate", reason="pip install '.[test]'").validate
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": PODS[name]["spec"]}
    assert validate(pod, KUBERNETES, strict=True) == KUBERNETES
    assert validate(VOLUME, KUBERNETES, strict=True) == KUBERNETES


@pytest.mark.parametrize("name", PODS)
def test_pods_run_as_a_user_without_rights_and_see_the_shared_volume(name):
    spec = PODS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"]}
    for container in spec["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        (mount,) = container["volumeMounts"]
        assert claims[mount["name"]] == VOLUME["metadata"]["name"]
        for option in ("--results", "trial.data.root="):
            (word,) = re.findall(rf"{option}[ ]?(\S+)", RAYJOB["spec"]["entrypoint"])
            assert Path(word).is_relative_to(mount["mountPath"])


def test_ray_takes_the_cluster_file():
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(RAY_UP)  # what `ray up` does first
    validate_config(prepared)
    assert prepared["setup_commands"] == []  # Ray's default would install a nightly build
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate_config({**prepared, "max_worker": 1})


def test_the_cluster_file_gives_a_trial_what_it_asks_for():
    resources = load_study("paper_cifar100").trial.resources
    nodes = RAY_UP["available_node_types"]
    assert nodes["gpu"]["resources"] == {"CPU": resources.cpus, "GPU": resources.gpus}
    assert nodes[RAY_UP["head_node_type"]]["resources"] == {"CPU": 0}
    assert nodes["gpu"]["max_workers"] == RAY_UP["max_workers"]
    limits = PODS["gpus"]["spec"]["containers"][0]["resources"]["limits"]
    assert int(limits["cpu"]) == resources.cpus * limits["nvidia.com/gpu"]
    batch = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", (CLUSTER / "slurm.sh").read_text(), re.MULTILINE))
    assert int(batch["cpus-per-task"]) == resources.cpus * int(batch["gpus-per-node"])


def test_versions_agree_with_constraints_and_one_image_is_meant():
    docker = (CLUSTER / "Dockerfile").read_text()
    ray, version = pins()["ray"], dks_study.__version__
    assert re.search(rf"^FROM rayproject/ray:{re.escape(ray)}-py311-cpu$", docker, re.MULTILINE)
    assert RAY_CLUSTER["rayVersion"] == ray
    assert "-c constraints.txt" in docker  # so that torch and all else are the pinned ones
    image = re.search(r"docker build -f cluster/Dockerfile -t (\S+) \.", docker)[1]
    assert image.endswith(f":{version}")
    containers = [container for pod in PODS.values() for container in pod["spec"]["containers"]]
    assert {image} == {RAY_UP["docker"]["image"], *(container["image"] for container in containers)}


def test_the_image_holds_code_alone():
    copied = re.findall(r"^COPY --chown=\S+ (.+) \S+$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert names >= {"dks_study", "search_spaces", "run_study.py", "pyproject.toml", "constraints.txt"}
    assert all((REPOSITORY / name).exists() for name in names)
    tracked = subprocess.run(["git", "ls-files", *names], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert sum((REPOSITORY / name).stat().st_size for name in tracked.stdout.split()) < 5e6  # bytes


def test_no_port_is_open_without_the_token():
    assert RAY_CLUSTER["authOptions"] == {"mode": "token"}
    assert RAY_CLUSTER["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert "--env RAY_AUTH_MODE=token" in RAY_UP["docker"]["run_options"]
    assert any(path == "~/.ray" for path in RAY_UP["file_mounts"].values())
    assert "--dashboard-host=127.0.0.1" in RAY_UP["head_start_ray_commands"][1]
    assert "export RAY_AUTH_MODE=token" in (CLUSTER / "slurm.sh").read_text()
    for path in CLUSTER.iterdir():
        assert "0.0.0.0" not in path.read_text(), path


def test_shell_script_is_clean():
    lint("bash", "-n", str(CLUSTER / "slurm.sh"))
    lint(tool("shellcheck"), str(CLUSTER / "slurm.sh"))


def test_dockerfile_is_clean():
    lint(tool("hadolint"), str(CLUSTER / "Dockerfile"))
