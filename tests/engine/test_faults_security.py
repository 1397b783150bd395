"""What a study must not do: listen to others, run what a file says, write elsewhere, tell a secret."""

import pickle
import re
import urllib.error
import urllib.request
from ipaddress import ip_address

import psutil
import pytest
import torch
from faulty import trapped_process, trapped_study
from whole_studies import PATIENCE_S, finish, start, study_folder

from dks_study.spec.files import load_study
from dks_study.spec.yamldoc import SpecError
from dks_study.training.checkpoint import load_state
from dks_study.watch.mirror import MirrorError, open_storage

SECRET = "correct-horse-battery"


def open_ports(process):
    """Return the addresses beyond this machine that a study's processes listen on."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    found = []
    for member in family:
        try:
            connections = member.net_connections(kind="inet")
        except psutil.Error:  # it has ended
            continue
        found += [ip_address(each.laddr.ip) for each in connections if each.status == psutil.CONN_LISTEN]
    assert found, "a study listens to itself"
    return [str(address) for address in found if not (getattr(address, "ipv4_mapped", None) or address).is_loopback]


def answer(address):
    """Return the status with which a server answers."""
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_study_listens_to_this_machine_alone_and_tells_no_secret(tmp_path, monkeypatch, workers):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    space, trapped = trapped_study(tmp_path, "wait")
    log = tmp_path / "log"
    process = start(space, tmp_path / "results", "report_seeds=[0]", f"trial.resources.workers={workers}", log=log)
    trapped_process(trapped, process)
    assert open_ports(process) == []
    (dashboard,) = re.findall(r"http://127\.0\.0\.1:\d+", log.read_text())
    assert answer(f"{dashboard}/api/v0/actors") == 401, "Ray asks for its token"
    (trapped / "go").touch()
    assert process.wait(timeout=PATIENCE_S) == 0, log.read_text()
    for path in (log, *study_folder(tmp_path / "results").rglob("*")):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_the_password_of_a_database_is_not_told(space, tmp_path):
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/studies"
    _, out, err = finish(space, tmp_path, code=2, options=("--optuna-storage", url))
    assert SECRET not in out + err
    assert len(err.splitlines()) == 1
    assert all(SECRET.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_password_with_special_characters_is_not_told_either(tmp_path):
    with pytest.raises(MirrorError) as refusal:
        open_storage(f"postgresql://me:{SECRET}%40:x@127.0.0.1:1/studies", tmp_path)
    assert SECRET not in str(refusal.value)


def test_yaml_runs_nothing(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text(f"question: !!python/object/apply:os.system ['touch {tmp_path}/harm']\nprofile: laptop\n")
    with pytest.raises(SpecError) as refusal:
        load_study(str(path))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/b", "..", "", "UPPER", "a b", "a\\nb", "%2e%2e", "x" * 99])
def test_names_cannot_leave_the_results_folder(name):
    text = name.replace("\\n", "\n")
    arms = {text: {}, "other": {}}
    with pytest.raises(SpecError):
        load_study("dense_vs_oneway", None, [f"arms={arms!r}", "table.reference=other", "search.axes={}"])
    with pytest.raises(SpecError):
        load_study("dense_vs_oneway", None, [f"name={text}"])


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_checkpoint_runs_nothing(tmp_path):
    torch.save({"trial_hash": "x", "epoch": Harm(tmp_path / "harm")}, tmp_path / "last.pt")
    assert load_state(tmp_path / "last.pt", "x") is None
    (tmp_path / "last.pt").write_bytes(pickle.dumps(Harm(tmp_path / "harm"), protocol=2))
    assert load_state(tmp_path / "last.pt", "x") is None
    assert not (tmp_path / "harm").exists()
