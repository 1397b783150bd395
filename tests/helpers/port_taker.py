"""Ray is started as for a study, and something takes its dashboard's port meanwhile: python port_taker.py TIME.

TIME: `late`, another program asks for the port just before the dashboard does, or `early`, it had it all along.
"""

import os
import socket
import sys
from contextlib import ExitStack, contextmanager

import ray
from ray._private import services

from dks_study.engine import joining

begin = services.start_ray_process
taken = ExitStack()


def take(command, process_type, **options):
    """Take the dashboard's port in the last moment, if it can be had."""
    if process_type == "dashboard":
        port = int(os.environ[joining.ASKED].rpartition(":")[2])
        try:
            taken.enter_context(socket.socket()).bind(("127.0.0.1", port))
            print("taken")
        except OSError:
            print("not to be had")
    return begin(command, process_type, **options)


@contextmanager
def had_port():
    """Give out a port that somebody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


with taken:
    if sys.argv[1] == "late":
        services.start_ray_process = take
    else:
        joining._held_port = had_port
    try:
        with joining.ending_ray() as undo:
            joining.join(None, lambda line: None, undo)
            print(ray.is_initialized())
    except joining.StudyError as error:
        print(error)
