"""A SHA-256 beside a file tells whether it is what was written."""

import hashlib

import pytest

from plugins.suite.files import is_sealed, remove_sealed, seal


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(bytes(range(256)) * 40)
    seal(path)
    return path


def test_a_seal_is_what_sha256sum_reads(sealed):
    digest = hashlib.sha256(sealed.read_bytes()).hexdigest()
    assert is_sealed(sealed)
    assert sealed.with_name("weights.pth.sha256").read_text() == f"{digest}  weights.pth\n"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9999])
def test_a_flipped_bit_breaks_it(share, sealed):
    content = bytearray(sealed.read_bytes())
    content[int(share * len(content))] ^= 1
    sealed.write_bytes(content)
    assert not is_sealed(sealed)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"0" * 64])
def test_a_broken_seal_is_none(content, sealed):
    sealed.with_name("weights.pth.sha256").write_bytes(content)
    assert not is_sealed(sealed)


def test_neither_file_nor_seal_may_be_missing(sealed):
    other = sealed.with_name("other.pth")
    other.write_bytes(sealed.read_bytes())
    assert not is_sealed(other)
    sealed.unlink()
    assert not is_sealed(sealed)


def test_both_are_removed(sealed):
    remove_sealed(sealed)
    remove_sealed(sealed)
    assert not list(sealed.parent.iterdir())
