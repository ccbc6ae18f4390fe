"""Every key and certificate of a testbed, derived from one root secret.

Deriving instead of generating keeps an unchanged testbed unchanged: the same root gives the same bytes, so a preview
shows no difference and a lost state file loses no key. Private scalars come from HKDF-SHA256 (RFC 5869) with 64 extra
bits, reduced modulo the group order (FIPS 186-5, A.2.1); certificates are signed with deterministic ECDSA (RFC 6979).
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT_BYTES = 32  # the least a root secret may have
# A fixed window, because a validity counted from today would change the certificate at every preview.
NOT_BEFORE = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(2045, 1, 1, tzinfo=datetime.UTC)
# FIPS 186-5 group orders.
_ORDERS = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
}


@dataclass(frozen=True)
class Pair:
    """A private key and what is published of it, both as text."""

    private: str
    public: str


def read_root(text: str) -> bytes:
    """Read a root secret written in hexadecimal.

    Raises:
        ValueError: when it is not hexadecimal or shorter than ``ROOT_BYTES``; the message never holds the secret.
    """
    try:
        root = bytes.fromhex(text.strip())
    except ValueError:
        raise ValueError("is not hexadecimal") from None
    if len(root) < ROOT_BYTES:
        raise ValueError(f"has {len(root)} bytes, at least {ROOT_BYTES} are needed")
    return root


class Keyring:
    """The keys of one testbed; two testbeds of one root share none."""

    def __init__(self, root: bytes, testbed: str) -> None:
        self._root, self._testbed = root, testbed

    def _derive(self, label: str, length: int) -> bytes:
        info = f"kubeflower/v1/{self._testbed}/{label}".encode()
        return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(self._root)

    def _key(self, label: str, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
        wide = int.from_bytes(self._derive(label, curve.key_size // 8 + 8))
        return ec.derive_private_key(wide % (_ORDERS[curve.name] - 1) + 1, curve)

    def _certificate(self, label: str, subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        authority = self._key("authority", ec.SECP256R1())
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(f"{self._testbed} authority"))
            .public_key(key.public_key())
            .serial_number(int.from_bytes(self._derive(f"{label}/serial", 19)) + 1)
            .not_valid_before(NOT_BEFORE)
            .not_valid_after(NOT_AFTER)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> str:
        authority = self._key("authority", ec.SECP256R1())
        signed = builder.sign(authority, hashes.SHA256(), ecdsa_deterministic=True)
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def authority(self) -> str:
        """Return the certificate (PEM) of the testbed's own certification authority."""
        key = self._key("authority", ec.SECP256R1())
        builder = self._certificate("authority", f"{self._testbed} authority", key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return self._sign(builder.add_extension(_usage(ca=True), critical=True))

    def server(self, addresses: Sequence[ipaddress.IPv4Address], names: Sequence[str]) -> Pair:
        """Return the SuperLink's key (PKCS #8 PEM) and certificate (PEM) for every address and name it is met under."""
        key = self._key("server", ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.IPAddress(address) for address in addresses]
        alternatives += [x509.DNSName(name) for name in names]
        digest = hashlib.sha256("\n".join([*map(str, addresses), *names]).encode()).hexdigest()
        builder = self._certificate(f"server/{digest}", f"{self._testbed} superlink", key)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        certificate = self._sign(builder.add_extension(_usage(ca=False), critical=True))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Pair(private.decode(), certificate)

    def supernode(self, client: str, generation: int) -> Pair:
        """Return a SuperNode's authentication key in OpenSSH format.

        P-384, as Flower generates its own (``flwr/supercore/primitives/asymmetric.py``); Flower takes any NIST curve.

        Args:
            client: the client's id.
            generation: the client's ``key``: Flower never takes back an unregistered key, so a rejoining client
                needs another.
        """
        return _openssh(self._key(f"supernode/{client}/{generation}", ec.SECP384R1()), f"{self._testbed}-{client}")

    def superexec(self, owner: str) -> str:
        """Return the secret which ``owner``'s SuperExec shares with its SuperLink or SuperNode."""
        return self._derive(f"superexec/{owner}", 32).hex()


def checksum(*published: str) -> str:
    """Digest published material, so that a pod restarts when a mounted file changes."""
    return hashlib.sha256("\0".join(published).encode()).hexdigest()[:16]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _openssh(key: ec.EllipticCurvePrivateKey, comment: str) -> Pair:
    """Write an EC key as OpenSSH does (openssh ``PROTOCOL.key``, RFC 5656).

    cryptography draws the format's check number at random; here it comes from the public key, so that the same key
    gives the same file.
    """
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    kind, blob = public.split(b" ")[0], base64.b64decode(public.split(b" ")[1])
    scalar = key.private_numbers().private_value
    number = scalar.to_bytes(scalar.bit_length() // 8 + 1)  # mpint: a leading zero keeps it positive
    check = hashlib.sha256(blob).digest()[:4]
    section = check + check + blob + _string(number) + _string(comment.encode())
    section += bytes(range(1, -len(section) % 8 + 1))
    head = b"openssh-key-v1\0" + _string(b"none") + _string(b"none") + _string(b"") + struct.pack(">I", 1)
    body = base64.b64encode(head + _string(blob) + _string(section)).decode()
    lines = [body[i : i + 70] for i in range(0, len(body), 70)]
    private = "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])
    return Pair(private, f"{kind.decode()} {public.split(b' ')[1].decode()} {comment}\n")
