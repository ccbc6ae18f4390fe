from __future__ import annotations

import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from testbed.keys import NOT_AFTER, NOT_BEFORE, Keyring, checksum, read_root

ROOT = bytes(range(32))
ADDRESSES = [ipaddress.IPv4Address("10.60.0.2"), ipaddress.IPv4Address("127.0.0.1")]


def test_the_same_root_gives_the_same_bytes() -> None:
    one, two = Keyring(ROOT, "lab"), Keyring(ROOT, "lab")
    assert one.authority() == two.authority()
    assert one.server(ADDRESSES, ["localhost"]) == two.server(ADDRESSES, ["localhost"])
    assert one.supernode("e1", 1) == two.supernode("e1", 1)
    assert one.superexec("e1") == two.superexec("e1")


def test_no_two_keys_are_the_same() -> None:
    rings = [Keyring(ROOT, "lab"), Keyring(ROOT, "cloud-edge"), Keyring(bytes(32), "lab")]
    keys = [ring.supernode(client, n).private for ring in rings for client in ("e1", "e2") for n in (1, 2)]
    keys += [ring.superexec(owner) for ring in rings for owner in ("server", "e1", "e2")]
    keys += [ring.server(ADDRESSES, []).private for ring in rings]
    assert len(set(keys)) == len(keys)


@given(st.integers(1, 2**31))
def test_a_supernodes_key_reads_as_openssh_and_matches_what_is_registered(generation: int) -> None:
    pair = Keyring(ROOT, "lab").supernode("e1", generation)
    private = serialization.load_ssh_private_key(pair.private.encode(), password=None)
    public = serialization.load_ssh_public_key(pair.public.encode())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(private.curve, ec.SECP384R1)
    assert private.public_key() == public


def test_the_servers_certificate_holds_for_every_address_and_for_no_other() -> None:
    ring = Keyring(ROOT, "lab")
    authority = x509.load_pem_x509_certificate(ring.authority().encode())
    certificate = x509.load_pem_x509_certificate(ring.server(ADDRESSES, ["localhost", "c2"]).public.encode())
    builder = PolicyBuilder().store(Store([authority]))
    for address in ADDRESSES:
        builder.build_server_verifier(x509.IPAddress(address)).verify(certificate, [])
    for name in ("localhost", "c2"):
        builder.build_server_verifier(x509.DNSName(name)).verify(certificate, [])
    with pytest.raises(x509.verification.VerificationError):
        builder.build_server_verifier(x509.DNSName("c3")).verify(certificate, [])
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc) == (NOT_BEFORE, NOT_AFTER)


def test_another_address_is_another_serial_number() -> None:
    ring = Keyring(ROOT, "lab")
    serials = {
        x509.load_pem_x509_certificate(ring.server(ADDRESSES[:n], []).public.encode()).serial_number for n in (1, 2)
    }
    assert len(serials) == 2


def test_openssl_takes_the_servers_key(tmp_path: object) -> None:
    from pathlib import Path

    pair, folder = Keyring(ROOT, "lab").server(ADDRESSES, []), Path(str(tmp_path))
    (folder / "key").write_text(pair.private)
    (folder / "certificate").write_text(pair.public)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / "certificate", folder / "key")


@pytest.mark.parametrize(("text", "says"), [("xyz", "not hexadecimal"), ("00" * 31, "31 bytes, at least 32")])
def test_a_weak_root_is_refused_without_telling_it(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        read_root(text)
    assert text not in str(caught.value)


def test_a_root_may_end_in_a_newline() -> None:
    assert read_root(ROOT.hex() + "\n") == ROOT


def test_a_checksum_tells_its_parts_apart() -> None:
    assert checksum("ab", "c") != checksum("a", "bc")
