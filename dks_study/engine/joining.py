"""Ray for a study: started here for this machine alone, or a cluster that is joined; and its end.

What Ray needs of the machine and does not get is told in one line that names what is at fault and what helps.
"""

import gc
import logging
import os
import platform
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import ray
from ray._common.utils import get_default_system_temp_dir
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from dks_study.study.failures import is_disk_full
from dks_study.training.arm_checks import StudyError

CONNECT_TIMEOUT_S = 10.0
# Train's clean-up asks this dashboard, or one that it finds: perhaps of another Ray on this machine, or of one that has
# ended, which it waits for at the end of every trial.
ASKED = "RAY_API_SERVER_ADDRESS"
# Where the numbers of Ray's autoscaler, such as how many nodes there are, are served for Prometheus. Unless told it is
# always the same port, so that those of a second Ray of this machine were nowhere.
METRICS_PORT = "AUTOSCALER_METRIC_PORT"
TOKEN, TOKEN_PATH, MODE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"


@contextmanager
def ending_ray() -> Iterator[ExitStack]:
    """Shut Ray down at the end, then undo what `join` has put on the stack that is given out.

    It must be the outermost of a session's contexts: Ray ends the process, with status 1, if another thread frees a
    reference while it shuts down. So by then no thread of a study lives, and what only the garbage collector would
    free, which runs in whatever thread comes along, is freed before.
    """
    with ExitStack() as undo:
        try:
            yield undo
        finally:
            gc.collect()
            collects = gc.isenabled()
            gc.disable()
            try:
                ray.shutdown()
            finally:
                if collects:
                    gc.enable()


def join(address: str | None, note: Callable[[str], None], undo: ExitStack) -> None:
    """Become part of the Ray at `address`, or of one that is started here.

    Raises:
        StudyError: if there is no Ray at `address`, or none can be started.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a trial's error goes to its log and to the table
    told = "run: ray get-auth-token"
    if address is None:
        if kept := undo.enter_context(_token_elsewhere()):
            told = f"it is in {kept}"
        undo.enter_context(_metrics_port())
        dashboard = _start_here()
    else:
        dashboard = _join(address)
    os.environ[ASKED] = dashboard
    note(f"Ray dashboard: {dashboard} (asked for a token? {told})")


def _start_here() -> str:
    folder = get_default_system_temp_dir()
    if not _room(folder):  # Ray's dashboard would say so after a minute
        raise StudyError(f"Ray cannot start here: {_named()}: {_NO_ROOM.format(folder)}")
    with _held_port() as port:
        os.environ[ASKED] = f"http://127.0.0.1:{port}"  # before Ray starts, whose processes inherit it
        try:
            ray.init(
                address="local",
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                dashboard_port=port,
                logging_level="CRITICAL",  # what stops it is told by us
                log_to_driver=False,
            )
        except Exception as error:  # whatever its parts raise
            raise StudyError(f"Ray cannot start here: {_at_fault(error, port)}") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    return os.environ[ASKED]


def _at_fault(error: Exception, port: int) -> str:
    """Return what kept Ray, whose dashboard was to have `port`, from starting, and what helps."""
    folder = get_default_system_temp_dir()
    named = _named()
    if isinstance(error, ray.exceptions.AuthenticationError):
        path = os.environ.get(TOKEN_PATH)
        return f"{TOKEN_PATH}: must name a file that holds the token, got {path}; correct it, or unset it"
    if "AF_UNIX" in str(error):
        return f"{named}: too long for Ray's sockets, got {folder}; set RAY_TMPDIR to a shorter folder, such as /tmp"
    if is_disk_full(error) or not _room(folder):
        return f"{named}: {_NO_ROOM.format(folder)}"
    if isinstance(error, OSError) and str(error.filename or "").startswith(folder):
        return f"{named}: {error.filename}: {error.strerror}; set RAY_TMPDIR to a folder that can be written"
    if "already occupied" in str(error) or "address already in use" in str(error):
        return f"another program took port {port}, which was free for its dashboard; run the command again"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[-1] if lines else type(error).__name__}; its logs are in {folder}/ray/session_latest/logs"


_LEAST_ROOM_BYTES = 4 * 2**20  # for the logs of Ray's own processes
_NO_ROOM = "no space left in {}; free some, or set RAY_TMPDIR to another folder"


def _named() -> str:
    """Return what names Ray's temporary folder."""
    return next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "the temporary folder")


def _room(folder: str) -> bool:
    """Can Ray's processes write their logs there?"""
    try:
        status = os.statvfs(folder)
    except OSError:
        return True  # something else is wrong with it
    return status.f_blocks == 0 or status.f_bavail * status.f_frsize >= _LEAST_ROOM_BYTES  # 0: no disk, as /proc


@contextmanager
def _token_elsewhere() -> Iterator[Path | None]:
    """Keep Ray's token in a folder of its own while HOME, where Ray would, cannot be written; give out its path."""
    asked = os.environ.get(MODE, "token").lower() == "token"
    if not asked or TOKEN in os.environ or TOKEN_PATH in os.environ or _home_keeps_a_token():
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="dks-token-", ignore_cleanup_errors=True) as folder:  # for its owner alone
        path = Path(folder, "token")
        path.write_text(secrets.token_hex(32), encoding="utf-8")
        os.environ[TOKEN_PATH] = str(path)
        try:
            yield path
        finally:
            del os.environ[TOKEN_PATH]


def _home_keeps_a_token() -> bool:
    try:
        folder = Path.home() / ".ray"
        if (folder / "auth_token").is_file():
            return os.access(folder / "auth_token", os.R_OK)
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return False
    return True


def _join(address: str) -> str:
    try:
        found = _answering(address)
        logging.getLogger("ray").setLevel(logging.ERROR)
        if address == "auto":  # as Ray does: a token that lies here is for the cluster of this machine, and no other
            maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        _check_head(found)
        context = ray.init(address=found, logging_level="ERROR", log_to_driver=False)
    except (OSError, OverflowError, ValueError) as error:
        raise StudyError(f"--address {address}: cannot be joined: {error}") from error
    except (RuntimeError, ray.exceptions.RayError) as error:
        why = str(error).strip().splitlines()[0]
        raise StudyError(f"--address {address}: cannot be joined: {why}") from error
    return f"http://{context.address_info['webui_url']}"


def _answering(address: str) -> str:
    """Return HOST:PORT of `address` once somebody answers there: Ray would wait for minutes, or for ever, for nobody.

    Raises:
        OSError: if nobody does.
        ValueError, OverflowError: if it is neither auto nor HOST:PORT.
    """
    found = str(canonicalize_bootstrap_address(address)) if address == "auto" else address
    host, _, port = found.rpartition(":")
    if not host or "//" in host or not port.isdecimal():
        raise ValueError(f"must be auto or HOST:PORT; the driver runs on a node of its own, got {found}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except UnicodeError:  # of a part that is empty or too long, in words about codecs
        raise ValueError(f"{host} is no name of a machine") from None
    return found


def _check_head(address: str) -> None:
    """Ask who answers: Ray would wait for a quarter of an hour for one that is no head.

    Raises:
        ValueError: if it is no Ray head, one of another version, or one that asks for another token.
    """
    with init_grpc_channel(address) as channel:
        try:
            reply = NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=CONNECT_TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                own = f"set {MODE}=token, and {TOKEN} or {TOKEN_PATH}, to its own"
                raise ValueError(f"it asks for a token: {own}") from None
            raise ValueError(f"what answers there is not the head of a Ray cluster ({error.code().name})") from None
    if reply.ray_version != ray.__version__:
        raise ValueError(f"it runs Ray {reply.ray_version}, must be {ray.__version__} as here")


def is_lost() -> bool:
    """Has a process of the Ray that was started here ended, or does the head of a joined one not answer?"""
    try:
        node = ray._private.worker._global_node
        if node is None:
            return False
        if node.head:
            return bool(node.dead_processes())
        host, _, port = node.gcs_address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except AttributeError:  # not Ray's public interface: another version may lack it
        return False
    except OSError:
        return True
    return False


@contextmanager
def _metrics_port() -> Iterator[None]:
    """Keep a port of its own for the numbers of the autoscaler, which binds it when Ray has long started."""
    if METRICS_PORT in os.environ:
        yield
        return
    with _held_port() as port:
        os.environ[METRICS_PORT] = str(port)
        try:
            yield
        finally:
            del os.environ[METRICS_PORT]


@contextmanager
def _held_port() -> Iterator[int]:
    """Give out a free port that nobody but the part of Ray that is told of it gets while the context lasts.

    That part binds it seconds after Ray begins, and Ray's own processes take free ports meanwhile, as do others. A
    socket that is bound with SO_REUSEADDR and does not listen keeps the port from all who ask for any free one and from
    those who bind it without that option; Ray's parts have it, so they can bind and listen. So Linux; other systems let
    one socket alone be bound, and there the port is only free.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        if platform.system() != "Linux":
            held.close()
        yield port
