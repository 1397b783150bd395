"""Watch studies in a browser: dks-study watch FOLDER."""

import signal
from collections.abc import Sequence
from contextlib import suppress

from dks_study.engine.interrupts import SIGNALS
from dks_study.spec.options import OptionParser, some_text, whole
from dks_study.spec.urls import shown
from dks_study.spec.yamldoc import SpecError
from dks_study.study.home import StorageError
from dks_study.watch.live.reading import Studies
from dks_study.watch.live.server import Server

PORT = 8350


def main(words: Sequence[str]) -> int:
    """Run the command line; return 0 when it is ended by a signal.

    Raises:
        Problem: one line, if there is no study, or the address cannot be used.
    """
    about = "Show a study, or each study of a folder, in a browser: live, read-only, from their files alone."
    parser = OptionParser(prog="dks-study watch", description=about)
    of = "of a study, or of studies; or a bucket's"
    parser.add_argument("folder", metavar="FOLDER|URL", type=some_text("a folder or a URL"), help=of)
    bind = "the address to listen at (127.0.0.1: this machine alone); at others who looks needs the token it prints"
    parser.add_argument("--bind", metavar="ADDRESS", default="127.0.0.1", help=bind)
    parser.add_argument("--port", metavar="N", default=str(PORT), help=f"to listen at; 0: any that is free ({PORT})")
    options = parser.parse_args(list(words))
    server = _server(_studies(options.folder), options.bind, options.port)
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    print(f"watching {shown(options.folder)} at {server.url} (Ctrl-C ends it)", flush=True)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


def _studies(place: str) -> Studies:
    try:
        return Studies(place)
    except OSError as error:
        raise StorageError(f"watch {shown(place)}: {str(error).splitlines()[0]}") from error


def _server(studies: Studies, bind: str, port: str) -> Server:
    number = whole(port)
    if number is None or number > 65535:
        raise SpecError(f"--port: must be a whole number of 0 to 65535, got {port!r}")
    try:
        return Server(studies, bind, number)
    except (OSError, UnicodeError) as error:
        rule = "must be an address of this machine, and the port free (--port 0 takes any that is)"
        why = "that is no name of a machine" if isinstance(error, UnicodeError) else error.strerror or error
        raise SpecError(f"--bind and --port: {rule}, got {bind} and {port}: {why}") from error
