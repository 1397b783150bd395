"""Studies that are kept in a bucket, copied to this machine's cache: to adopt their trials, or to watch them."""

import hashlib
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from dks_study.study.holder import HOLDER
from dks_study.study.home import Home
from dks_study.study.storage import CHECKPOINTS
from dks_study.training.data.remembered import cache_folder

_AT_ONCE = 16  # a bucket answers slowly, but many at a time


def pulled(url: str, option: str = "--reuse") -> Path:
    """Return a folder with the studies in the bucket's folder `url`, or with the one study that it is.

    Checkpoints stay where they are. What was copied before and has its size is not copied again; what is gone from the
    bucket is deleted. Who holds a study is copied always. The ledgers come last: no trial is in one whose files are not
    there.

    `option` begins the message of an error.

    Raises:
        StorageError: if `url` cannot be opened.
        OSError: if the bucket cannot be reached, or the cache not be written.
    """
    home = Home(url, option)
    name = PurePosixPath(url.partition("?")[0]).name  # that of the study, if it is one
    folder = cache_folder() / "reused" / hashlib.sha256(url.encode()).hexdigest()[:20] / name
    there = {name: size for name, size in home.sizes().items() if PurePosixPath(name).name not in CHECKPOINTS}
    here = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    for gone in here.keys() - there.keys():
        (folder / gone).unlink(missing_ok=True)
    stale = [name for name, size in there.items() if here.get(name) != size or PurePosixPath(name).name == HOLDER]
    ledgers = [name for name in stale if PurePosixPath(name).name == "ledger.jsonl"]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for names in (set(stale).difference(ledgers), ledgers):
            list(threads.map(lambda name: _pull(home, name, folder / name), names))
    return folder


def _pull(home: Home, name: str, target: Path) -> None:
    content = home.read(name)
    if content is None:  # deleted meanwhile
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}")  # another command may copy it, too
    temporary.write_bytes(content)
    os.replace(temporary, target)
