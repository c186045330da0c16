"""SSH keypairs: made here, or brought along. Pure, but for chance."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bai_jupyter.common.errors import BadRequest

MAX_KEY_CHARACTERS = 16 * 1024
_OPENSSH = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH


def generate() -> tuple[str, str]:
    """A new public and private key, as OpenSSH writes them."""
    key = Ed25519PrivateKey.generate()
    private = _written(key)
    return public_of(private), private


def private_of(seed: bytes) -> str:
    """The private key that follows from 32 secret bytes."""
    return _written(Ed25519PrivateKey.from_private_bytes(seed))


def public_of(private: str) -> str:
    """The public key of one that was made here, a line."""
    key = serialization.load_ssh_private_key(private.encode(), None)
    return key.public_key().public_bytes(*_OPENSSH).decode() + "\n"


def _written(key: Ed25519PrivateKey) -> str:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private.decode()


def check(public: str, private: str) -> tuple[str, str]:
    """A keypair that somebody brings, each with one line end. Raises ``BadRequest``, which never shows a key."""
    if max(len(public), len(private)) > MAX_KEY_CHARACTERS:
        raise BadRequest(f"An SSH key has at most {MAX_KEY_CHARACTERS} characters.")
    private = private.strip() + "\n"
    is_openssh = "BEGIN OPENSSH PRIVATE KEY" in private
    load = serialization.load_ssh_private_key if is_openssh else serialization.load_pem_private_key
    try:
        key = load(private.encode(), None)
        derived = key.public_key().public_bytes(*_OPENSSH).decode()
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise BadRequest(
            "privkey is no private SSH key that can be read. It must be an OpenSSH or PEM text without a passphrase."
        ) from error
    words = public.split(None, 2)
    if words[:2] != derived.split()[:2] or len(public.strip().splitlines()) != 1:
        raise BadRequest("pubkey is not the public key of privkey. Give the one line of its .pub file.")
    return public.strip() + "\n", private
