"""ImageConfig: every form a config comes in, operations on it, and the blob that is written."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechunk_podman.errors import UsageError
from rechunk_podman.model import ComponentId
from rechunk_podman.oci.config import (
    HistoryEntry,
    ImageConfig,
    image_config_json,
    layer_comment,
    resolve_created,
)
from rechunk_podman.oci.spec import MEDIA_LAYER, Descriptor, DiffId, Layer, digest
from rechunk_podman.oci.text import format_time, normalise_architecture, parse_time

EXECUTION = {
    "User": "1000:1000",
    "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    "Env": ["PATH=/usr/bin", "EMPTY=", "QUOTES=a \"b\" 'c' \\ é"],
    "Entrypoint": ["/init", "--", ""],
    "Cmd": ["sh", "-c", "echo $X"],
    "Volumes": {"/data": {}},
    "WorkingDir": "/srv",
    "Labels": {"a": "b", "c": ""},
    "StopSignal": "SIGRTMIN+3",
    "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30000000000, "Retries": 3},
    "OnBuild": ["RUN true"],
    "Shell": ["/bin/bash", "-c"],
    "ArgsEscaped": True,
    "org.example.future": {"kept": [1, None]},
}
OCI = {
    "created": "2024-02-03T04:05:06.999999999Z",
    "author": "somebody",
    "architecture": "arm",
    "variant": "v7",
    "os": "linux",
    "os.version": "1.2",
    "os.features": ["f"],
    "config": EXECUTION,
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
    "history": [
        {"created_by": "x", "comment": "y"},
        {"empty_layer": True, "created": "2024-01-01T00:00:00Z"},
    ],
    "moby.buildkit.cache.v0": {"k": 1},
}


def layer(seed: str) -> Layer:
    identity = digest("sha256:" + hashlib.sha256(seed.encode()).hexdigest())
    return Layer(DiffId(identity), Descriptor(MEDIA_LAYER, identity, 10), 10)


def written(config: ImageConfig, created: int = 1) -> dict:
    return json.loads(image_config_json(config, [layer("a")], [HistoryEntry("by")], created))


def test_oci_config_survives_verbatim():
    out = written(ImageConfig.parse(json.dumps(OCI)))
    assert out["config"] == EXECUTION
    for key in (
        "author",
        "architecture",
        "variant",
        "os",
        "os.version",
        "os.features",
        "moby.buildkit.cache.v0",
    ):
        assert out[key] == OCI[key]
    assert out["rootfs"]["diff_ids"] == [layer("a").diff_id]
    assert out["history"] == [{"created": "1970-01-01T00:00:01Z", "created_by": "by"}]


def test_source_history_and_layers_are_read():
    config = ImageConfig.parse(json.dumps(OCI))
    assert config.history == (
        HistoryEntry("x", "y"),
        HistoryEntry(empty_layer=True, created=1704067200),
    )
    assert config.diff_ids == ("sha256:" + "0" * 64,)
    assert config.created == parse_time("2024-02-03T04:05:06Z")


def test_only_the_config_object():
    config = ImageConfig.parse(json.dumps(EXECUTION).encode())
    assert config.config == EXECUTION
    assert config.architecture == ""
    assert ImageConfig.parse("{}").config == {}


@pytest.mark.parametrize("wrap", [lambda o: [o], lambda o: o])
def test_podman_inspect(wrap):
    execution = {key: value for key, value in EXECUTION.items() if key != "Healthcheck"}
    inspected = {
        "Id": "00",
        "RepoTags": ["localhost/x:latest"],
        "Created": "2024-02-03T04:05:06.5+01:00",
        "Config": execution,
        "Author": "",
        "Architecture": "amd64",
        "Os": "linux",
        "RootFS": {"Type": "layers", "Layers": ["sha256:" + "1" * 64]},
        "Labels": EXECUTION["Labels"],
        "Annotations": {"note": "1"},
        "User": "1000:1000",
        "History": [{"created": "2024-02-03T03:05:06Z", "created_by": "x", "empty_layer": True}],
        "Healthcheck": EXECUTION["Healthcheck"],
    }
    config = ImageConfig.parse(json.dumps(wrap(inspected)))
    assert config.config == EXECUTION
    assert config.annotations == {"note": "1"}
    assert config.created == parse_time("2024-02-03T03:05:06Z")
    assert config.diff_ids == ("sha256:" + "1" * 64,)
    assert config.author is None
    assert config.history[0].empty_layer


def test_docker_inspect_with_its_nulls():
    inspected = {
        "Created": "0001-01-01T00:00:00Z",
        "ContainerConfig": {"Cmd": ["wrong"]},
        "Config": {"Hostname": "", "Env": None, "Cmd": "one", "Labels": None, "Volumes": {"/v": None}},
        "Architecture": "arm64",
        "Variant": "v8",
        "Os": "linux",
        "Annotations": None,
        "RootFS": {"Type": "layers"},
    }
    config = ImageConfig.parse(json.dumps([inspected]))
    assert config.config == {"Hostname": "", "Cmd": ["one"], "Volumes": {"/v": {}}}
    assert (config.architecture, config.variant, config.created) == ("arm64", "v8", None)


def test_docker_config_loses_only_what_describes_the_old_layers():
    old = OCI | {"container": "c", "container_config": {"Cmd": ["old"]}, "parent": "p", "docker_version": "1"}
    assert ImageConfig.parse(json.dumps(old)) == ImageConfig.parse(json.dumps(OCI))


@pytest.mark.parametrize(
    ("text", "message", "context"),
    [
        ('{"config": {\n  "Env": [1,]\n}}', "is not JSON", "line 2, column 13"),
        ("", "is empty", ""),
        (b"\xff{}", "is not UTF-8", "at byte 0"),
        ('{"config": {"Memory": NaN}}', "can be read", "NaN is not JSON"),
        ("[" * 200000, "can be read", ""),
        ("[{}, {}]", "describes 2 images", ""),
        ("[]", "describes 0 images", ""),
        ("3", "is not a JSON object", ""),
        ('{"schemaVersion": 2}', "is a manifest", ""),
        ('[{"State": {}, "Config": {}}]', "a container", ""),
        ('{"RepoTags": [], "Layers": [], "Env": []}', "skopeo inspect", ""),
        ('{"foo": 1, "bar": 2}', "is not an image config", "bar, foo"),
        ('{"config": {"Env": [1]}}', "Env is not a list of strings", "it is [1]"),
        ('{"config": {"Env": "A=B"}}', "Env is not a list of strings", ""),
        ('{"config": {"User": 1000}}', "User is not a string", "1000"),
        ('{"config": {"Labels": {"a": 1}}}', "Labels[a] is not a string", ""),
        ('{"config": {"Volumes": ["/a"]}}', "Volumes is not an object", ""),
        ('{"config": {"Cmd": {"a": 1}}}', "Cmd is not a list", ""),
        ('{"config": []}', "config is not an object", ""),
        ('{"config": {}, "created": "yesterday"}', "created is not a date", ""),
        ('{"config": {}, "history": {}}', "history is not a list", ""),
        ('{"architecture": 3}', "architecture is not a string", ""),
    ],
)
def test_bad_configs_are_usage_errors_that_say_where(text, message, context):
    with pytest.raises(UsageError) as caught:
        ImageConfig.parse(text, name="c.json")
    shown = "\n".join((caught.value.message, *caught.value.context))
    assert caught.value.message.startswith("c.json")
    assert message in caught.value.message
    assert context in shown
    assert caught.value.exit_code == 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["config", "Config", "Env", "Labels", "created", "history", "rootfs", "os", "RootFS", "x"]
                ),
                x,
            )
        ),
    )
)
def test_any_json_is_a_config_or_a_usage_error(document):
    try:
        config = ImageConfig.parse(json.dumps(document))
    except UsageError:
        return
    out = written(config)
    assert out["config"] == {k: v for k, v in out["config"].items() if v is not None}


def test_label_operations_in_order():
    config = ImageConfig.parse(json.dumps(OCI))
    assert config.with_labels(["a-", "d=e=f", "g="]).labels == {"c": "", "d": "e=f", "g": ""}
    assert config.with_labels(["x=1", "-", "y=2"]).labels == {"y": "2"}
    assert config.with_labels(["y=2", "y-"]).labels == EXECUTION["Labels"]
    assert config.with_labels(["absent-"]).labels == EXECUTION["Labels"]
    assert config.with_labels(["a-=1"]).labels["a-"] == "1"
    assert "Labels" not in config.with_labels(["-"]).config
    assert config.labels == EXECUTION["Labels"]


@pytest.mark.parametrize("operation", ["", "key", "=value"])
def test_bad_label_operations(operation):
    with pytest.raises(UsageError):
        ImageConfig().with_labels([operation])
    with pytest.raises(UsageError):
        ImageConfig().with_annotations([operation])


def test_annotation_operations():
    config = ImageConfig(annotations={"a": "1", "b": "2"})
    assert config.with_annotations(["a-", "c=3"]).annotations == {"b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("armhf", "arm"), ("i686", "386"), ("s390x", "s390x")],
)
def test_architecture_names(name, expected):
    assert normalise_architecture(name)[0] == expected


def test_architecture_choice():
    source = ImageConfig(architecture="arm64", variant="v8", os="linux")
    assert source.with_architecture(None) == source
    assert source.with_architecture("aarch64") == source
    assert source.with_architecture("linux/arm/v6").variant == "v6"
    changed = source.with_architecture("x86_64")
    assert (changed.architecture, changed.variant) == ("amd64", None)
    host = ImageConfig().with_architecture(None)
    assert host.os == "linux"
    assert host.architecture not in ("", "x86_64", "aarch64")
    for wrong in ("", "a/b/c/d", "amd 64"):
        with pytest.raises(UsageError):
            source.with_architecture(wrong)


def test_created_is_the_option_else_the_source_else_the_fallback():
    source = ImageConfig(created=5)
    assert resolve_created(source, source_date_epoch=0, fallback=9) == 0
    assert resolve_created(source, source_date_epoch=None, fallback=9) == 5
    assert resolve_created(ImageConfig(), source_date_epoch=None, fallback=9) == 9


@given(st.integers(min_value=-62135596800, max_value=253402300799))
def test_times_survive(seconds):
    assert parse_time(format_time(seconds)) == seconds


@pytest.mark.parametrize("text", ["2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "1700000000"])
def test_bad_times(text):
    with pytest.raises(ValueError, match=r"not a date|month"):
        parse_time(text)


def test_history_must_fit_the_layers():
    with pytest.raises(ValueError, match="0 history entries for 1 layers"):
        image_config_json(ImageConfig(), [layer("a")], [HistoryEntry(empty_layer=True)], 0)


def test_history_with_ledger_entry_and_own_times():
    blob = image_config_json(
        ImageConfig(),
        [layer("a")],
        [HistoryEntry("l", "c", created=2), HistoryEntry("rechunk-podman ledger", "data", empty_layer=True)],
        7,
    )
    assert json.loads(blob)["history"] == [
        {"created": "1970-01-01T00:00:02Z", "created_by": "l", "comment": "c"},
        {
            "created": "1970-01-01T00:00:07Z",
            "created_by": "rechunk-podman ledger",
            "comment": "data",
            "empty_layer": True,
        },
    ]


def test_blob_is_compact_sorted_utf8_and_the_same_for_permuted_input():
    permuted = dict(reversed(OCI.items()))
    permuted["config"] = dict(reversed(EXECUTION.items()))
    one = image_config_json(ImageConfig.parse(json.dumps(OCI)), [layer("a")], [HistoryEntry("é")], 1)
    two = image_config_json(ImageConfig.parse(json.dumps(permuted)), [layer("a")], [HistoryEntry("é")], 1)
    assert one == two
    assert "é".encode() in one
    assert b'": ' not in one
    lone = image_config_json(ImageConfig(), [layer("a")], [HistoryEntry("a\udcffb")], 1)
    assert "a\ufffdb".encode() in lone


def test_comment_names_the_largest_first():
    parts = [(ComponentId("rpm", "bash"), 5), (ComponentId("rpm", "glibc"), 50), (ComponentId("rpm", "a"), 5)]
    assert layer_comment(parts, "sha256:0123456789abcdef") == "rpm/glibc rpm/a rpm/bash [01234567]"
    assert layer_comment(parts, "sha256:0123456789abcdef", limit=40) == "rpm/glibc rpm/a rpm/bash [01234567]"
    many = [(ComponentId("rpm", f"package-{n}"), n) for n in range(500)]
    comment = layer_comment(many, "sha256:" + "ab" * 32)
    assert comment.startswith("rpm/package-499 rpm/package-498 ")
    assert comment.endswith("+495 [abababab]")


@given(
    st.lists(st.tuples(st.text(min_size=1), st.integers(min_value=0)), min_size=1, max_size=30),
    st.integers(min_value=32, max_value=120),
)
def test_comment_never_exceeds_its_limit(parts, limit):
    components = [(ComponentId("s", name), size) for name, size in parts]
    comment = layer_comment(components, "sha256:" + "ab" * 32, limit=limit)
    assert len(comment.encode()) <= limit
    assert comment.endswith("[abababab]")


def test_lone_surrogates_of_json_are_replaced_as_go_does():
    text = '{"config": {"Labels": {"a\\ud800": "b\\udfffc", "pair": "\\ud83d\\ude00"}}}'
    config = ImageConfig.parse(text)
    assert config.labels == {"a\ufffd": "b\ufffdc", "pair": "\U0001f600"}
    assert json.dumps(dict(config.labels), ensure_ascii=False).encode()


@pytest.mark.parametrize("value", ["1e999", "[" * 200 + "]" * 200])
def test_documents_that_nobody_could_write_again(value):
    with pytest.raises(UsageError, match="not JSON that can be read"):
        ImageConfig.parse('{"architecture": "amd64", "extra": ' + value + "}")
