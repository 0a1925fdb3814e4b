"""The files of one small root filesystem with every source of components."""

from __future__ import annotations

import json

STORE = "usr/lib/containers/storage"
COMMIT = "c" * 64
FLATPAK = "var/lib/flatpak"
APPLICATION = f"{FLATPAK}/app/org.example.Maps/x86_64/stable/{COMMIT}"
RUNTIME = f"{FLATPAK}/runtime/org.example.Platform/x86_64/45/{COMMIT}"

FILES = {
    "usr/bin/bash": "bash",
    "var/lib/dpkg/status": (
        "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n"
    ),
    "var/lib/dpkg/info/bash.list": "/usr/bin/bash\n",
    "opt/venv/pyvenv.cfg": "home = /usr/bin\n",
    "opt/venv/lib/python3.11/site-packages/django/__init__.py": "",
    "opt/venv/lib/python3.11/site-packages/django-4.2.dist-info/METADATA": "Name: Django\nVersion: 4.2\n",
    "opt/venv/lib/python3.11/site-packages/django-4.2.dist-info/RECORD": (
        "django/__init__.py,,\ndjango-4.2.dist-info/METADATA,,\ndjango-4.2.dist-info/RECORD,,\n"
    ),
    "srv/app/node_modules/express/package.json": '{"name": "express", "version": "4.18.2"}',
    "srv/app/node_modules/express/index.js": "1",
    "srv/app/server.js": "2",
    f"{APPLICATION}/files/bin/run": "3",
    f"{RUNTIME}/files/lib/libc.so": "4",
    f"{FLATPAK}/repo/objects/aa/bb.file": "5",
    f"{STORE}/overlay-images/images.json": json.dumps(
        [{"id": "i" * 64, "names": ["quay.io/org/app:1"], "layer": "l" * 64}]
    ),
    f"{STORE}/overlay-layers/layers.json": json.dumps([{"id": "l" * 64}]),
    f"{STORE}/overlay/{'l' * 64}/diff/file": "6",
    "usr/lib/modules/6.1.0-18-amd64/kernel/a.ko": "7",
    "usr/lib/modules/6.1.0-18-amd64/vmlinuz": "8",
    "usr/lib/modules/6.1.0-18-rt-amd64/kernel/a.ko": "9",
    "usr/lib/modules/6.1.0-18-rt-amd64/initramfs.img": "0",
}
