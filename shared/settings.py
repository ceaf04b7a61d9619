"""Every setting of hemotriage, read once from the environment.

Each field is the environment variable `HEMOTRIAGE_` + its name in capitals; of a secret, that name
and `_FILE` names a file instead (`shared.secret_files`). A process builds one `Settings` in its
`main` (or `create_app`) and hands it down; nothing else reads the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.access_settings import AccessSettings
from shared.audit_settings import AuditSettings
from shared.auth.hosts import parse_networks
from shared.auth.issuers import parse_issuers, parse_scope_map
from shared.console_settings import ConsoleSettings
from shared.gateway_settings import GatewaySettings
from shared.metrics_settings import MetricsSettings
from shared.retention_settings import RetentionSettings
from shared.security_settings import SecuritySettings
from shared.telemetry_settings import TelemetrySettings
from shared.webhooks.credentials import check_credentials, parse_credentials
from shared.webhooks.destinations import parse_destinations
from shared.webhooks.hosts import AllowedHosts
from shared.webhooks.signature import key_of

PROJECT_ROOT = Path(__file__).resolve().parent.parent

DEFAULT_MAX_PIXELS = 50_000_000

_SECRET_CHARACTERS = 32

EngineName = Literal["openvino", "tensorflow"]
PrecisionSetting = Literal["best", "f32", "bf16", "int8"]


class InferenceSettings(BaseSettings):
    """What running a model in a process needs, with no server at hand."""

    model_config = SettingsConfigDict(
        env_prefix="HEMOTRIAGE_",
        frozen=True,
        extra="ignore",
        # An error about one setting must not print the others: some are passwords.
        hide_input_in_errors=True,
    )

    models_dir: Path = Field(
        default=PROJECT_ROOT / "models", description="Folder of the shipped model versions."
    )
    pretrained_dir: Path | None = Field(
        default=None, description="Folder of pretrained backbones; unset: Keras fetches them."
    )
    engine: EngineName = Field(default="openvino", description="Inference engine of the worker.")
    precision: PrecisionSetting = Field(
        default="best",
        description="Arithmetic of the model; best: the lowest that its parity gate passed.",
    )
    xla: bool = Field(default=False, description="Compile TensorFlow's graph by XLA.")
    inference_threads: int = Field(
        default=0, ge=0, description="Threads that a model computes in; 0 takes all cores."
    )
    batch_size: int = Field(default=16, ge=1, le=256, description="Most images in one model call.")
    max_pixels: int = Field(
        default=DEFAULT_MAX_PIXELS, ge=1, description="Largest width x height of an accepted image."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe level that is logged."
    )


class Settings(
    AccessSettings,
    MetricsSettings,
    TelemetrySettings,
    SecuritySettings,
    AuditSettings,
    RetentionSettings,
    ConsoleSettings,
    GatewaySettings,
    InferenceSettings,
):
    """What a service needs: its servers, its limits and its timing."""

    database_url: SecretStr = Field(description="PostgreSQL, `postgresql+psycopg2://...`.")
    broker_url: SecretStr = Field(description="Valkey or Redis, `redis://:password@host:port/0`.")
    s3_endpoint: str = Field(description="Object store, `host:port`.")
    s3_access_key: SecretStr = Field(description="Access key of the object store.")
    s3_secret_key: SecretStr = Field(description="Secret key of the object store.")
    s3_bucket: str = Field(default="hemotriage", description="Bucket for images and artefacts.")
    s3_secure: bool = Field(default=False, description="Speak TLS to the object store.")

    api_host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(default=8000, ge=0, le=65535, description="Port of the API.")
    api_processes: int = Field(default=2, ge=1, description="Processes of the API.")
    api_connections: int = Field(
        default=512,
        ge=2,
        description="Clients that one process of the API serves at once; half of them may wait.",
    )
    api_database_connections: int = Field(
        default=8, ge=1, description="Connections of one process of the API to the database."
    )

    max_files: int = Field(default=64, ge=1, description="Most images in one job.")
    max_file_bytes: int = Field(
        default=32 * 1024**2, ge=1, description="Largest accepted image file, in bytes."
    )
    max_request_bytes: int = Field(
        default=256 * 1024**2, ge=1, description="Largest accepted request body, in bytes."
    )
    max_dataset_bytes: int = Field(
        default=4 * 1024**3, ge=1, description="Largest accepted zip of a data set, in bytes."
    )

    max_queued_jobs: int = Field(
        default=10_000, ge=1, description="Jobs of one priority that may wait; more are refused."
    )
    max_queued_explanations: int = Field(
        default=1000,
        ge=1,
        description="Open explanations by one method that somebody asked for; more are refused.",
    )
    key_jobs_per_minute: int = Field(
        default=0, ge=0, description="Jobs a minute of a key without a rate of its own; 0: any."
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses and networks of proxies whose `X-Forwarded-For` is believed.",
    )
    oidc_issuers: str = Field(
        default="", description="OpenID providers whose tokens are taken, `URL=AUDIENCE`."
    )
    oidc_scope_claim: str = Field(
        default="scope", min_length=1, description="Claim of a token that tells what it allows."
    )
    oidc_scope_map: str = Field(
        default="",
        description="Scopes, `VALUE=SCOPE`, of values of that claim besides `hemotriage.SCOPE`.",
    )

    worker_threads: int = Field(default=16, ge=1, description="Jobs that one worker holds at once.")
    worker_queues: str = Field(
        default="stat,urgent,routine",
        pattern=r"^(stat|urgent|routine)(,(stat|urgent|routine))*$",
        description="Queues that a worker takes jobs from.",
    )
    worker_grace_seconds: int = Field(
        default=30, ge=1, description="Longest time from SIGTERM to a worker's end."
    )
    work_limit_seconds: float = Field(
        default=60, gt=0, description="Longest decoding or model call; it then counts as hung."
    )
    lease_seconds: float = Field(
        default=8, gt=0, description="Time after which a silent worker loses its jobs."
    )
    max_attempts: int = Field(
        default=3, ge=1, description="Crashes, hangs and errors after which a job is dead."
    )
    expire_after_seconds: int = Field(
        default=259_200, ge=1, description="Age at which a job that still waits is dead."
    )
    explainer_methods: str = Field(
        default="gradcam,lime",
        pattern=r"^(gradcam|lime)(,(gradcam|lime))*$",
        description="Methods that an explainer explains by.",
    )
    explain_results: Literal["off", "gradcam"] = Field(
        default="off", description="Method by which every new result is explained unasked."
    )
    trainer_work: Path = Field(
        default=PROJECT_ROOT / "var" / "trainer",
        description="Folder of a trainer's runs and features; one folder for each device.",
    )
    registry_dir: Path = Field(
        default=PROJECT_ROOT / "var" / "registry",
        description="Folder into which the artefacts of registered model versions are fetched.",
    )
    change_control_policy: Path = Field(
        default=PROJECT_ROOT / "models" / "change-control.toml",
        description="What a version must reach to be promoted.",
    )
    relay_interval_seconds: float = Field(
        default=1.0, gt=0, description="Pause between two passes of the relay and the sweeper."
    )
    requeue_after_seconds: float = Field(
        default=5, gt=0, description="Age of a job without a message that is announced again."
    )
    orphan_grace_seconds: int = Field(
        default=3600, ge=1, description="Age at which an object that no job owns is removed."
    )

    webhook_allowed_hosts: str = Field(
        default="", description="Hosts, `NAME` or `NAME:PORT`, that may be called back."
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        validate_default=True,
        description="Signs webhooks: `whsec_` and base64 of 24 to 64 bytes.",
    )
    webhook_retry_seconds: float = Field(
        default=5, gt=0, description="Delay of a webhook's first retry; it doubles each time."
    )
    result_destinations: str = Field(
        default="",
        description="Where results are pushed: `mllp[s]://`, `stow+http[s]://`, `dicom://`.",
    )
    result_credentials: SecretStr = Field(
        default=SecretStr(""),
        description="What archives are told by STOW-RS, `HOST[:PORT]=basic:USER:PASSWORD` "
        "or `=bearer:TOKEN`.",
    )

    monitoring_interval_seconds: float = Field(
        default=300, gt=0, description="Pause between two looks at drift."
    )
    monitoring_window_seconds: int = Field(
        default=86_400, ge=1, description="Age of the oldest result that such a look is at."
    )
    monitoring_max_fields: int = Field(
        default=5000, ge=1, description="Most fields of such a look, the newest."
    )

    pseudonym_secret: SecretStr | None = Field(
        default=None,
        description="Makes pseudonyms of patient ids, 32 characters or more; unset: none.",
    )
    dicom_allow_burned_in: bool = Field(
        default=False, description="Take DICOM images that say that text is burned into them."
    )

    connect_timeout_seconds: float = Field(
        default=3.0, gt=0, description="Longest wait for a server to take a connection."
    )
    answer_timeout_seconds: float = Field(
        default=5.0, gt=0, description="Longest wait for a server's next answer."
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, proxies: str) -> str:
        return proxies if parse_networks(proxies) else ""

    @field_validator("oidc_issuers")
    @classmethod
    def _issuers_are_well_formed(cls, issuers: str) -> str:
        return issuers if parse_issuers(issuers) else ""

    @field_validator("oidc_scope_map")
    @classmethod
    def _scopes_are_known(cls, scope_map: str) -> str:
        return scope_map if parse_scope_map(scope_map) else ""

    @field_validator("webhook_allowed_hosts")
    @classmethod
    def _hosts_are_well_formed(cls, hosts: str) -> str:
        return hosts if AllowedHosts.parse(hosts).entries else ""

    @field_validator("result_destinations")
    @classmethod
    def _destinations_are_well_formed(cls, destinations: str) -> str:
        return ",".join(parse_destinations(destinations))

    @field_validator("result_credentials")
    @classmethod
    def _credentials_are_well_formed(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        destinations = parse_destinations(info.data.get("result_destinations", ""))
        check_credentials(parse_credentials(secret.get_secret_value()), destinations.values())
        return secret

    @field_validator("pseudonym_secret")
    @classmethod
    def _secret_is_not_guessed(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and len(secret) < _SECRET_CHARACTERS:
            raise ValueError(f"it must have {_SECRET_CHARACTERS} characters or more")
        return secret or None

    @field_validator("webhook_secret")
    @classmethod
    def _secret_is_a_key(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if secret is not None and secret.get_secret_value():
            key_of(secret.get_secret_value())
            return secret
        if info.data.get("webhook_allowed_hosts"):
            raise ValueError("webhooks are signed: allowed hosts need a secret")
        return None
