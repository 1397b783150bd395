"""What the server shows, to whom, and that it changes nothing."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from half_done import RUNNING, TEST, go_on, half_done, train

from dks_study import cli
from dks_study.watch.live import reading
from dks_study.watch.live.reading import Studies
from dks_study.watch.live.server import Server

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path):
    folder = half_done(tmp_path / "results" / "small-1")
    train(folder)
    return folder


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Read files at every request."""
    monkeypatch.setattr(reading, "LEAST_AGE_S", 0.0)
    monkeypatch.setattr(reading, "MOST_OF_THE_TIME", 1e9)


@contextmanager
def serving(place, bind="127.0.0.1"):
    with Server(Studies(str(place)), bind, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, method="GET", at="127.0.0.1", **headers):
    """Return status, headers and content of an answer."""
    connection = http.client.HTTPConnection(at, server.server_port, timeout=30)
    try:
        connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()
    finally:
        connection.close()


def data(server, path):
    status, headers, text = ask(server, path)
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    return json.loads(text)


def test_a_study_is_shown_with_numbers_that_go_on(folder):
    with serving(folder) as server:
        status, headers, _ = ask(server, "/")
        assert (status, headers["Location"]) == (303, "/study/small-1/")
        status, headers, page = ask(server, "/study/small-1/")
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        nonce = re.search(r"script-src 'nonce-([\w-]+)'", headers["Content-Security-Policy"])[1]
        assert f'<script nonce="{nonce}">' in page
        assert nonce not in ask(server, "/study/small-1/")[2], "it is good for one page"
        assert data(server, "/study/small-1/data")["curves"][0]["done"] == 2
        train(folder, epochs=3)
        assert data(server, "/study/small-1/data")["curves"][0]["done"] == 3


def test_studies_are_side_by_side_and_new_ones_appear(folder):
    with serving(folder.parent) as server:
        assert [each["name"] for each in data(server, "/data")] == ["small-1"]
        half_done(folder.with_name("small 2"))
        assert [each["name"] for each in data(server, "/data")] == ["small 2", "small-1"]
        assert ask(server, "/")[0] == ask(server, "/study/small%202/")[0] == 200
        assert not data(server, "/data")[1]["curves"]


def test_a_damaged_study_is_told_beside_the_others(folder):
    other = half_done(folder.with_name("small-2"))
    (other / "ledger.jsonl").write_text("damaged\n")
    with serving(folder.parent) as server:
        first, second = data(server, "/data")
        assert (first["state"], second["state"]) == ("running", "unreadable")
        assert second["about"].startswith(f"{other}/ledger.jsonl:1: not a record of a trial")


def test_the_report_is_given_out_when_the_study_is_complete(folder):
    (folder / "report.html").write_text(f"<p>{TEST}</p>")
    with serving(folder) as server:
        assert ask(server, "/study/small-1/report.html")[0] == 404
        lock = (folder / "lock").read_text()
        (folder / "lock").unlink()  # as a study leaves it that the clock has ended, with a table in its report
        assert data(server, "/study/small-1/data")["state"] == "stopped"
        assert ask(server, "/study/small-1/report.html")[0] == 404
        (folder / "lock").write_text(lock)
        go_on(folder)
        assert data(server, "/study/small-1/data")["state"] == "complete"
        status, headers, text = ask(server, "/study/small-1/report.html")
        assert (status, text) == (200, f"<p>{TEST}</p>")
        assert "script" not in headers["Content-Security-Policy"]
        (folder / "report.html").unlink()
        assert "dks-study report" in ask(server, "/study/small-1/report.html")[2]


def test_a_complete_study_is_read_again_only_if_its_ledger_grows(folder, monkeypatch):
    go_on(folder)
    studies, read = Studies(str(folder)), []
    monkeypatch.setattr(reading, "snapshot", lambda folder: read.append(folder) or first)
    ((_, first),) = studies.now().values()
    assert not read
    with (folder / "ledger.jsonl").open("a") as file:
        file.write("\n")
    studies.now()
    assert read == [folder]


def test_numbers_are_not_read_more_often_than_is_worth_it(folder, monkeypatch):
    monkeypatch.setattr(reading, "LEAST_AGE_S", 60.0)
    studies = Studies(str(folder))
    train(folder, epochs=3)
    assert studies.now()["small-1"][1].curves[0].done == 2


def test_what_is_known_stays_when_the_folder_has_gone(folder):
    studies = Studies(str(folder.parent))
    folder.parent.rename(folder.parent.with_name("elsewhere"))
    assert list(studies.now()) == ["small-1"]


@pytest.mark.parametrize(
    "path", ["/study/", "/study/small-2/", "/study/../", "/study/%2e%2e/report.html", "/ledger.jsonl", "/data/"]
)
def test_nothing_else_is_there(folder, path):
    with serving(folder) as server:
        assert ask(server, path)[0] == 404


def test_it_only_reads(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with serving(folder) as server:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert ask(server, "/study/small-1/data", method)[0] == 501
        ask(server, "/study/small-1/")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_page_of_another_site_that_gave_this_machine_its_name_gets_nothing(folder):
    with serving(folder) as server:
        assert ask(server, "/data", Host="evil.example")[0] == 403
        assert ask(server, "/data", Host="evil.example:80@localhost.evil.example")[0] == 403
        assert ask(server, "/data", Host=f"localhost:{server.server_port}")[0] == 200
        assert "token" not in server.url


def test_it_listens_at_the_address_of_this_machine_by_ipv6_too(folder):
    with serving(folder, "::1") as server:
        assert server.url == f"http://[::1]:{server.server_port}/"
        assert ask(server, "/data", at="::1")[0] == 200
        assert ask(server, "/data", at="::1", Host="evil.example")[0] == 403


def test_at_all_addresses_by_ipv6_a_token_is_needed(folder):
    with serving(folder, "::") as server:
        assert re.fullmatch(rf"http://[^:/]+:{server.server_port}/\?token=.{{32,}}", server.url)
        token = server.url.partition("?token=")[2]
        for at in ("::1", "127.0.0.1"):
            assert ask(server, "/data", at=at)[0] == 403
            assert ask(server, f"/data?token={token}", at=at)[0] == 303


@pytest.mark.parametrize("host", ["[", "[::1", "]", "[::1]evil.example", ""])
def test_a_host_that_is_none_is_refused_like_any_other(folder, host, capfd):
    with serving(folder) as server:
        assert ask(server, "/data", Host=host)[0] == 403
        assert ask(server, "HTTP://[/data")[0] == 404
        assert ask(server, "/data", Host="LocalHost:1")[0] == 200, "a port that ssh has made another one"
    assert capfd.readouterr().err == ""


def test_elsewhere_a_token_is_needed_once(folder):
    with serving(folder, "0.0.0.0") as server:
        token = server.url.partition("?token=")[2]
        assert len(token) >= 32
        for path in (
            "/",
            "/study/small-1/",
            "/study/small-1/data",
            "/data",
            "/?token=",
            "/?token=wrong",
            "/?token=%C3%A4",
        ):
            status, _, text = ask(server, path)
            assert (status, "small-1" in text) == (403, False)
        status, headers, _ = ask(server, f"/study/small-1/?token={token}")
        assert (status, headers["Location"]) == (303, "/study/small-1/"), "not in the history of a browser"
        assert headers["Set-Cookie"].endswith("; HttpOnly; SameSite=Strict; Path=/")
        assert ask(server, f"/\\evil.example?token={token}")[1]["Location"] == "/%5Cevil.example"
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert ask(server, "/data", Cookie=cookie)[0] == 200
        assert ask(server, "/data", Cookie=cookie[:-1])[0] == 403
        assert ask(server, "/data", Cookie="\x01=;;")[0] == 403


def test_a_port_that_is_taken_and_other_mistakes_get_one_line(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        wrong = {
            (str(folder), "--port", port): f"got 127.0.0.1 and {port}: Address already in use",
            (str(folder), "--port", "many"): "--port: must be a whole number of 0 to 65535, got 'many'",
            (str(folder), "--port", "9" * 5000): "--port: must be a whole number of 0 to 65535, got '9999",
            (str(folder), "--port", "65536"): "got '65536'",
            (str(folder), "--bind", "192.0.2.1"): "--bind and --port: must be an address of this machine",
            (str(folder.parent / "x"),): f"{folder.parent / 'x'}: is not a folder",
            (str(folder / "trials"),): "holds no study",
            ("s4://bucket",): "watch s4://bucket: ",
        }
        for words, message in wrong.items():
            assert cli.main(["watch", *words]) == 2
            err = capsys.readouterr().err
            assert message in err
            assert len(err.splitlines()) == 1


def test_the_command_serves_until_ctrl_c(folder):
    words = [sys.executable, str(ROOT / "run_study.py"), "watch", str(folder), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://127.0.0.1:(\d+)/", process.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", int(url[1]), timeout=30)
        connection.request("GET", "/study/small-1/")
        assert f"{RUNNING.name}" in connection.getresponse().read().decode()
        connection.close()
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
