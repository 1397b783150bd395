"""What a bundle says of itself: RO-Crate metadata 1.1 (Soiland-Reyes et al., Data Science 5(2), 2022), as plain JSON.

The words are those of https://www.researchobject.org/ro-crate/1.1/ and of schema.org.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

METADATA, SHA256 = "ro-crate-metadata.json", "sha256"
_PROFILE, _PAPER, _SOFTWARE, _RUN = "https://w3id.org/ro/crate/1.1", "https://arxiv.org/abs/1906.00675", "#code", "#run"
# Name of a file -> what it is; files that a study has not are not in its bundle.
FILES = {
    "provenance.json": "The whole description of the study, its data's fingerprint, code, versions, machine, sessions",
    "ledger.jsonl": "Every finished trial, lost ones too, and the sealed plan; append-only",
    "trials.parquet": "One row per trial",
    "epochs.parquet": "One row per epoch of every trial",
    "table.md": "The table that answers the question",
    "table.csv": "The same in numbers",
    "settings.csv": "What each search chose",
    "pareto.csv": "The front of a search with several objectives",
    "CITATION.cff": "How to cite the software and the method",
    "LICENSE": "Under which licence the results may be used",
}
_PREDICTIONS = "What a trial says of each test image: logits (NumPy)"
_FORMATS = {
    "npz": "application/zip",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
    "md": "text/markdown",
    "csv": "text/csv",
    "cff": "text/yaml",
}


def crate(files: Mapping[str, bytes], provenance: Mapping[str, Any], licence: str | None) -> dict[str, Any]:
    """Return the metadata of a bundle.

    Args:
        files: what it holds, by name.
        provenance: what the study's provenance.json holds.
        licence: SPDX identifier of the licence of the results; None: nobody has said.
    """
    study, sessions = provenance["study"], provenance["sessions"]
    first, last = (sessions[0], sessions[-1]) if sessions else ({}, {})
    ended = last.get("ended") or last.get("started") or "1980-01-01"
    parts = [{"@id": name} for name in sorted(files)]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{study['name']}: {study['question']}",
        "description": f"A study of dks_study with its trials. {study['table']['title']}.",
        "datePublished": ended[:10],
        "hasPart": parts,
        "mentions": {"@id": _RUN},
        "citation": {"@id": _PAPER},
    }
    graph = [
        {"@id": METADATA, "@type": "CreativeWork", "conformsTo": {"@id": _PROFILE}, "about": {"@id": "./"}},
        root,
        *(_file(name, files[name]) for name in sorted(files)),
        {"@id": _PAPER, "@type": "ScholarlyArticle", "name": "Deeply-supervised Knowledge Synergy"},
        {
            "@id": _SOFTWARE,
            "@type": "SoftwareApplication",
            "name": "dks_study",
            "softwareVersion": str(last.get("packages", {}).get("dks_study")),
        },
        {
            "@id": _RUN,
            "@type": "CreateAction",
            "name": "The study as it was run",
            "instrument": {"@id": _SOFTWARE},
            "startTime": str(first.get("started")),
            "endTime": str(ended),
            "result": parts,
        },
    ]
    if licence:
        url = f"https://spdx.org/licenses/{licence}"
        root["license"] = {"@id": url}
        graph.append({"@id": url, "@type": "CreativeWork", "name": licence})
    return {"@context": [f"{_PROFILE}/context", {SHA256: f"https://schema.org/{SHA256}"}], "@graph": graph}


def _file(name: str, content: bytes) -> dict[str, Any]:
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "description": FILES.get(name, _PREDICTIONS),
        "encodingFormat": _FORMATS.get(name.rpartition(".")[2], "text/plain"),
        "contentSize": str(len(content)),
        SHA256: hashlib.sha256(content).hexdigest(),
    }
