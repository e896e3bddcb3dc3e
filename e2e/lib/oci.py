#!/usr/bin/env python3
"""Makes a container image, as an OCI archive, from files of this machine: one layer, no daemon.

The same files give the same bytes: entries are sorted, times are zero, everything is root's.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import stat
import subprocess
import tarfile

MEDIA = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Where /usr is merged, these are links into it, and paths below them mean the same file.
MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib32": "usr/lib32", "lib64": "usr/lib64"}


class Layer:
    """What the image's file system will hold, by path without a leading slash."""

    def __init__(self):
        self.entries = {}

    def path(self, path):
        path = os.path.normpath(path).strip("/")
        first, slash, rest = path.partition("/")
        return MERGED[first] + slash + rest if slash and first in MERGED else path

    def put(self, path, kind, mode, content=b"", target=""):
        info = tarfile.TarInfo(self.path(path))
        info.type, info.mode, info.linkname = kind, mode, target
        info.size = len(content)
        self.entries[info.name] = (info, content)

    def file(self, path, content, mode=0o644):
        self.put(path, tarfile.REGTYPE, mode, content)

    def directory(self, path, mode=0o755):
        self.put(path, tarfile.DIRTYPE, mode)

    def link(self, path, target):
        self.put(path, tarfile.SYMTYPE, 0o777, target=target)

    def copy(self, source, path):
        """Copies a file, a link, or a directory with all that is in it."""
        found = os.lstat(source)
        if stat.S_ISLNK(found.st_mode):
            self.link(path, os.readlink(source))
        elif stat.S_ISDIR(found.st_mode):
            for name in os.listdir(source):
                self.copy(os.path.join(source, name), os.path.join(path, name))
        else:
            with open(source, "rb") as file:
                # Of the mode only that counts: the rest depends on who made the file, and where.
                self.file(path, file.read(), 0o755 if found.st_mode & 0o111 else 0o644)

    def libraries(self):
        """Adds the shared libraries that the programs and libraries in the layer need."""
        for info, content in list(self.entries.values()):
            if info.isreg() and content[:4] == b"\x7fELF":
                for library in shared_libraries(content):
                    if self.path(library) not in self.entries:
                        self.copy(os.path.realpath(library), library)

    def tar(self):
        """The layer's bytes, with the directories that its paths need."""
        entries = dict(self.entries)
        for first, target in MERGED.items():
            if any(name.startswith(target + "/") for name in entries):
                entries[first] = (symlink(first, target), b"")
        for name in list(entries):
            while name := os.path.dirname(name):
                if name not in entries:
                    info = tarfile.TarInfo(name)
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    entries[name] = (info, b"")
        return archive(entries[name] for name in sorted(entries))


def symlink(name, target):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, target
    return info


def shared_libraries(program):
    """The paths of the libraries that the dynamic loader would load, itself included."""
    with os.fdopen(os.memfd_create("program"), "wb") as file:
        file.write(program)
        file.flush()
        result = subprocess.run(
            ["ldd", f"/proc/{os.getpid()}/fd/{file.fileno()}"], capture_output=True, text=True, check=False
        )
    if "not found" in result.stdout:
        raise SystemExit(f"error: a library is missing on this machine: {result.stdout.strip()}")
    return {word for word in result.stdout.split() if word.startswith("/") and not word.startswith("/proc/")}


def archive(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def image(layer, arguments):
    """The archive's files by path: the layer, the configuration, the manifest, the index."""
    tar = layer.tar()
    compressed = gzip.compress(tar, compresslevel=1, mtime=0)
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    run = {
        "User": arguments.user,
        "Env": arguments.env,
        "Entrypoint": arguments.entrypoint,
        "Cmd": arguments.cmd,
        "WorkingDir": arguments.workdir,
    }
    if arguments.stop_signal:
        run["StopSignal"] = arguments.stop_signal
    blobs = {}

    def blob(kind, content, **more):
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"{MEDIA}.{kind}", "digest": f"sha256:{digest}", "size": len(content), **more}

    def document(kind, value, **more):
        return blob(kind, json.dumps(value, sort_keys=True).encode(), **more)

    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}.manifest.v1+json",
        "config": document(
            "config.v1+json",
            {
                "architecture": architecture,
                "os": "linux",
                "config": {key: value for key, value in run.items() if value},
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
            },
        ),
        "layers": [blob("layer.v1.tar+gzip", compressed)],
    }
    index = {
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}.index.v1+json",
        "manifests": [
            document(
                "manifest.v1+json",
                manifest,
                platform={"architecture": architecture, "os": "linux"},
                annotations={
                    # What containerd calls it, and what other tools do.
                    "io.containerd.image.name": arguments.name,
                    "org.opencontainers.image.ref.name": arguments.name.rpartition(":")[2],
                },
            )
        ],
    }
    return {
        **blobs,
        "index.json": json.dumps(index, sort_keys=True).encode(),
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", required=True, help="the full name, with the registry and the tag")
    parser.add_argument("--output", required=True, help="the archive to write")
    parser.add_argument("--user", default="", help="who runs it, as UID or UID:GID")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--entrypoint", action="append", default=[], help="one word of it; repeat for more")
    parser.add_argument("--cmd", action="append", default=[], help="one word of it; repeat for more")
    parser.add_argument("--workdir", default="")
    parser.add_argument("--stop-signal", default="", help="what asks it to end; SIGTERM where left out")
    parser.add_argument("--libraries", action="store_true", help="add the shared libraries that the files need")
    parser.add_argument("--file-list", help="a file with the paths of more, one a line, to be at the same path in the image")
    parser.add_argument("--symlink-list", help="a file with more of PATH=TARGET, one a line")
    parser.add_argument("--mkdir", action="append", default=[], metavar="PATH:MODE", help="add an empty directory")
    parser.add_argument("--symlink", action="append", default=[], metavar="PATH=TARGET")
    parser.add_argument("files", nargs="*", metavar="FILE=PATH", help="a file and its path in the image")
    arguments = parser.parse_args()
    if not any(pair.startswith("PATH=") for pair in arguments.env):
        arguments.env.insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")

    layer = Layer()
    # Links first, so that a file of the same name wins.
    for pair in arguments.symlink + lines(arguments.symlink_list):
        path, _, target = pair.partition("=")
        layer.link(path, target)
    for path in lines(arguments.file_list):
        layer.copy(path, path)
    for pair in arguments.files:
        source, _, path = pair.partition("=")
        layer.copy(source, path)
    for pair in arguments.mkdir:
        path, _, mode = pair.partition(":")
        layer.directory(path, int(mode or "755", 8))
    if arguments.libraries:
        layer.libraries()

    partial = arguments.output + ".partial"
    with open(partial, "wb") as output:
        members = image(layer, arguments)
        output.write(archive((member(path, members[path]), members[path]) for path in sorted(members)))
    os.replace(partial, arguments.output)


def lines(path):
    if not path:
        return []
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def member(path, content):
    info = tarfile.TarInfo(path)
    info.mode, info.size = 0o644, len(content)
    return info


if __name__ == "__main__":
    main()
