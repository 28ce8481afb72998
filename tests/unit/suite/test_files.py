"""Files that a person wrote badly, or a machine: one line each, no traceback, no hang."""

import os
import time

import pytest

from plugins.suite.errors import UserError
from plugins.suite.files import read_yaml

BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
BAD = {
    "an alias": (b"a: &x [1]\nb: *x\n", "line 2: aliases (*x) are not read"),
    "an alias bomb": (BOMB.encode(), "aliases"),
    "a merge key": (b"a: {<<: {b: 1}}\n", "line 1: merge keys (<<) are not read"),
    "a tag": (b"a: !!set {b}\n", "tags"),
    "an unsafe tag": (b"a: !!python/object/apply:os.system [ls]\n", "tags"),
    "a key twice": (b"a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice (first in line 1)"),
    "a number as key": (b"0011: 1\n", "line 1: key 9 is not text; write it in quotes"),
    "a list as key": (b"? [a]\n: b\n", "key ['a'] is not text"),
    "10 MB of nesting": (b"[" * 10_000_000, "at most 1048576 are read"),
    "nesting": (b"{a: " * 200_000, "nested more than 40 levels deep"),
    "binary": (bytes(range(128, 256)) * 8, "cannot be read as UTF-8 text"),
    "a control character": (b"a: \0\n", "not valid YAML"),
    "two documents": (b"a: 1\n---\nb: 2\n", "line 2 is not valid YAML"),
    "half a file": (b"a: [1,\n", "not valid YAML"),
    "nothing": (b"", "must be a mapping of keys to values, is NoneType"),
    "a list": (b"- 1\n", "must be a mapping of keys to values, is list"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_quick(tmp_path, name):
    content, expected = BAD[name]
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert time.monotonic() - start < 5
    line = str(caught.value)
    assert line.startswith(f"{path}: ") or line.startswith(f"{path}:"), line
    assert expected in line and "\n" not in line and len(line) < 500, line


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", tmp_path):
        with pytest.raises(UserError, match="is no plain file"):
            read_yaml(path)
    with pytest.raises(UserError, match=r"nowhere\.yaml: file not found"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_a_date_is_text_and_an_anchor_alone_does_no_harm(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("a: 2024-13-99\nb: &x 2024-01-01\n")
    assert read_yaml(path) == {"a": "2024-13-99", "b": "2024-01-01"}
