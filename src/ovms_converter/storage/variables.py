"""Every environment variable that this room reads: the table that the reference is made from.

A test compares it with the code: what is read and not told, or told and not read, fails.
"""

from dataclasses import dataclass
from enum import Enum

__all__ = ["UNUSED", "VARIABLES", "About", "Variable"]


class About(Enum):
    """What a variable is about, as a heading."""

    S3 = "S3 and what speaks its protocol"
    GOOGLE = "Google Cloud Storage"
    AZURE = "Azure Blob Storage"
    HTTP = "HTTP"
    MLFLOW = "MLflow"
    NETWORK = "Networks, for every scheme"


@dataclass(frozen=True)
class Variable:
    """One variable, or several that mean the same, the strongest first.

    `output` if the destination has its own, with `OUTPUT_` before the name.
    """

    names: tuple[str, ...]
    about: About
    meaning: str
    output: bool = False


def _rows(about: About, *rows: tuple[str, str], output: bool = False) -> tuple[Variable, ...]:
    return tuple(Variable(tuple(names.split()), about, meaning, output) for names, meaning in rows)


VARIABLES: tuple[Variable, ...] = (
    *_rows(
        About.S3,
        ("S3_ENDPOINT", "the server's URL"),
        ("AWS_ACCESS_KEY_ID", "the key; also an HMAC key of Google's"),
        ("AWS_SECRET_ACCESS_KEY", "its secret; one without the other is an error"),
        ("AWS_SESSION_TOKEN", "the session that a temporary key belongs to"),
        ("AWS_PROFILE", "a profile: keys, a web identity, or `role_arn` with `source_profile`"),
        ("AWS_REGION AWS_DEFAULT_REGION", "the bucket's region, default `us-east-1`"),
        output=True,
    ),
    *_rows(
        About.S3,
        (
            "AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL MLFLOW_S3_ENDPOINT_URL",
            "the server's URL, after `S3_ENDPOINT`",
        ),
        ("AWS_CONFIG_FILE", "the file of profiles, default `~/.aws/config`"),
        ("AWS_SHARED_CREDENTIALS_FILE", "the file of their keys, default `~/.aws/credentials`"),
        ("AWS_ROLE_ARN", "the role that a web identity takes"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "the file of the web identity's token"),
        ("AWS_ROLE_SESSION_NAME", "how that session is called"),
        ("AWS_ENDPOINT_URL_STS AWS_STS_ENDPOINT", "where roles are taken, default Amazon's"),
        (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "where a container gets its role's keys, at Amazon's own endpoint alone",
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "what it shows there: a file, or the token itself",
        ),
        ("AWS_EC2_METADATA_DISABLED", "`true`: the role of an EC2 machine is not asked for"),
        (
            "awsAnonymousCredential AWS_SKIP_SIGNATURE AWS_NO_SIGN_REQUEST",
            "`true`: requests are not signed, whatever keys are there",
        ),
        (
            "S3_USER_VIRTUAL_BUCKET AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
            "`true`: the bucket stands before the host's name",
        ),
        ("S3_USE_ACCELERATE", "`true`: Amazon's accelerated endpoint, if no server is named"),
    ),
    *_rows(
        About.GOOGLE,
        ("STORAGE_EMULATOR_HOST", "an emulator, without credentials"),
        (
            "GOOGLE_APPLICATION_CREDENTIALS GOOGLE_SERVICE_ACCOUNT GOOGLE_SERVICE_ACCOUNT_PATH",
            "a file of credentials",
        ),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", "the text of such a file"),
        ("CLOUDSDK_CONFIG", "where gcloud leaves its own, default `~/.config/gcloud`"),
        (
            "GCE_METADATA_HOST GCE_METADATA_ROOT GCE_METADATA_IP",
            "a metadata server is there: its role counts",
        ),
        ("NO_GCE_CHECK", "`true`: no metadata server is looked for"),
    ),
    *_rows(
        About.AZURE,
        ("AZURE_STORAGE_CONNECTION_STRING", "account, credentials and server in one"),
        ("AZURE_STORAGE_ACCOUNT AZURE_STORAGE_ACCOUNT_NAME", "the account, if the URL names none"),
        ("AZURE_STORAGE_ENDPOINT", "the server's URL, if the URL names no account"),
        ("AZURE_STORAGE_KEY AZURE_STORAGE_ACCESS_KEY AZURE_STORAGE_ACCOUNT_KEY", "the account's key"),
        ("AZURE_STORAGE_SAS_TOKEN AZURE_STORAGE_SAS_KEY", "a shared access signature"),
        ("AZURE_CLIENT_ID AZ_CLIENT_ID", "an application or a managed identity"),
        ("AZURE_TENANT_ID AZ_TENANT_ID", "its tenant"),
        ("AZURE_CLIENT_SECRET AZ_CLIENT_SECRET", "the application's secret"),
        ("AZURE_FEDERATED_TOKEN_FILE", "the file of a workload identity's token"),
    ),
    *_rows(About.HTTP, ("<host>-headers", "a JSON object of headers that are sent to that host alone")),
    *_rows(
        About.MLFLOW,
        ("MLFLOW_TRACKING_URI", "the tracking server of `runs:/`, `models:/` and `mlflow-artifacts:/`"),
        ("MLFLOW_TRACKING_TOKEN", "a bearer token for it"),
        ("MLFLOW_TRACKING_USERNAME", "a user of it"),
        ("MLFLOW_TRACKING_PASSWORD", "and the password"),
        ("MLFLOW_TRACKING_SERVER_CERT_PATH", "a file of certificates to trust, for this server"),
        ("MLFLOW_TRACKING_CLIENT_CERT_PATH", "a certificate with its key to show to it"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "`true`: its certificate is not checked"),
    ),
    *_rows(
        About.NETWORK,
        ("https_proxy HTTPS_PROXY", "a proxy for https:// servers"),
        ("http_proxy HTTP_PROXY", "a proxy for http:// servers"),
        ("all_proxy ALL_PROXY", "a proxy for those that have none of their own"),
        ("no_proxy NO_PROXY", "hosts, domains and networks that are reached without one"),
        ("AWS_CA_BUNDLE REQUESTS_CA_BUNDLE SSL_CERT_FILE", "a file of further certificates to trust"),
        (
            "CA_BUNDLE_VOLUME_MOUNT_POINT",
            "a directory with `cabundle.crt`, such a file, if `CA_BUNDLE_CONFIGMAP_NAME` is set too",
        ),
        ("CA_BUNDLE_CONFIGMAP_NAME", "see `CA_BUNDLE_VOLUME_MOUNT_POINT`"),
        ("S3_VERIFY_SSL", "`false`: certificates of `s3://`, `gs://` and `az://` are not checked"),
        ("MLFLOW_S3_IGNORE_TLS", "`true`: the same, if `S3_VERIFY_SSL` is not set"),
        ("S3_CONNECT_TIMEOUT", "seconds until a connection must stand, 10"),
        ("S3_READ_TIMEOUT", "seconds without a byte after which a connection counts as dead, 20"),
    ),
)
"""Every variable, in the order of the reference."""

UNUSED: tuple[tuple[str, str], ...] = (
    (
        "`S3_MAX_ATTEMPTS`, `AWS_MAX_ATTEMPTS`, `AWS_RETRY_MODE`",
        "a transfer may break as often as it makes progress in between; without any it ends after about 15 s",
    ),
    (
        "`S3_MAX_FILE_CONCURRENCY`, `AZURE_MAX_FILE_CONCURRENCY`, `AZURE_MAX_CHUNK_CONCURRENCY`",
        "the number of connections follows from what they bring",
    ),
    ("`STORAGE_CONFIG`, `STORAGE_OVERRIDE_CONFIG`", "KServe's own secret format: set the variables above"),
    ("`AWS_SDK_LOAD_CONFIG`", "`~/.aws/config` is always read"),
)
"""What other programs read, and why it changes nothing here."""
