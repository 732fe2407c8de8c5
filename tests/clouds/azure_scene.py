"""A small Azure that tests start from: a tenant, a registry in it, and somebody who may pull."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.clouds.azure.control import AzureControl, MadeIdentity
from tests.clouds.clouds import Clouds
from tests.clouds.content import ContentStore
from tests.clouds.images import Image, store

REGISTRY = "contoso"
DOMAIN = "contoso.example"


@dataclass(frozen=True, slots=True)
class AzureScene:
    """`app` may pull everything from `host`."""

    tenant: str
    host: str
    app: MadeIdentity
    secret: str


def set_azure_scene(clouds: Clouds, *, cloud: str = "public") -> AzureScene:
    """Make a tenant, a registry, and an application with AcrPull and a secret."""
    azure = clouds.azure
    tenant = azure.add_tenant(DOMAIN, cloud=cloud)
    host = azure.add_registry(REGISTRY, tenant)
    app = azure.add_app(tenant, "vreg-pull")
    azure.grant(host, app.object_id)
    return AzureScene(tenant, host, app, azure.add_secret(app.client_id))


@dataclass(frozen=True, slots=True)
class MadeCertificate:
    """A certificate and its key, as PEM."""

    certificate: str
    private_key: str


def make_certificate(
    name: str = "vreg-pull", *, days: int = 30, begins_days_ago: int = 1, now: datetime | None = None
) -> MadeCertificate:
    """Make a self-signed certificate that ends in so many days, counted from the machine's time or `now`."""
    key = generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = now or datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=begins_days_ago))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return MadeCertificate(certificate.public_bytes(Encoding.PEM).decode(), pem)


@dataclass(frozen=True)
class AcrRepository:
    """Where to push in the emulated registry."""

    azure: AzureControl
    content: ContentStore
    host: str
    name: str

    def push(self, image: Image, *tags: str) -> str:
        """Put the image there under these tags; return its digest."""

        def put(digest: str, image: Image, tag: str | None) -> None:
            blobs = tuple(image.blobs)
            self.azure.put_manifest(
                self.host, self.name, digest=digest, media_type=image.media_type, blobs=blobs, tag=tag
            )

        return store(image, self.content, put, *tags)


def acr(clouds: Clouds, host: str, name: str) -> AcrRepository:
    """Return a repository to push to."""
    return AcrRepository(clouds.azure, clouds.content, host, name)
