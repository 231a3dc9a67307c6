"""What one can set about a node: a TOML file, environment variables and flags, the later before the earlier.

    <home>/caremesh.toml        listen_port = 8443
    environment                 CAREMESH_LISTEN_PORT=8443
    flag of `caremesh node`     --listen-port 8443

Every setting has a sentence, a unit where it is a quantity, a default and limits; what lies outside of them is refused
before anything starts, by name. docs/reference/settings.md is written from this file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from caremesh.errors import BadInput, ErrorCode

FILE: Final = "caremesh.toml"
ENVIRONMENT: Final = "CAREMESH_"
OF_COMMANDS: Final = frozenset({"home", "profiles", "passphrase"})
"""Variables of that prefix which are the commands' own."""

NOT_VALID = ErrorCode(
    "settings.01", "This setting is not what it has to be.", "docs/reference/settings.md has its unit and its limits."
)
NOT_TOML = ErrorCode("settings.02", "The settings file is not TOML.", "Look at the line that is named here.")
NOT_READABLE = ErrorCode("settings.03", "The settings file cannot be read.", "Look at its permissions.")
UNKNOWN = ErrorCode(
    "settings.04", "There is no setting of this name.", "docs/reference/settings.md lists them; look for a slip."
)

Port = Annotated[int, Field(ge=0, le=65_535)]
"""0: any that is free."""


class HttpSettings(BaseSettings):
    """What one caller, and all of them together, may have (``api/limits.py``).

    Rates hold for the node; the rest for each of its processes that answer.
    """

    http_max_connections: int = Field(
        2_000, ge=8, le=100_000, title="connections", description="Open at a time; who comes then waits."
    )
    http_max_connections_an_address: int = Field(
        200, ge=1, le=100_000, title="connections", description="Open at a time from one network address."
    )
    http_max_at_work: int = Field(
        200, ge=1, le=10_000, title="requests", description="Answered at a time; others are told to come again."
    )
    http_max_streams: int = Field(
        200, ge=1, le=10_000, title="streams", description="Of events, at a time, besides the requests at work."
    )
    http_max_head_bytes: int = Field(
        16 * 1024, ge=4_096, le=1024 * 1024, title="bytes", description="Of a request line with its headers."
    )
    http_head_s: float = Field(
        10.0, ge=0.5, le=120.0, title="seconds", description="Until the headers of a request are there."
    )
    http_body_s: float = Field(60.0, ge=1.0, le=3_600.0, title="seconds", description="From there until its body is.")
    http_send_s: float = Field(
        60.0, ge=1.0, le=3_600.0, title="seconds", description="Until a caller takes a piece of its answer."
    )
    http_idle_s: float = Field(
        30.0, ge=1.0, le=600.0, title="seconds", description="Between two requests on one connection."
    )
    http_per_second: float = Field(
        200.0,
        ge=0.01,
        le=100_000.0,
        title="requests a second",
        description="Of one member or practitioner at the whole node, in the long run.",
    )
    http_burst: int = Field(1_000, ge=1, le=1_000_000, title="requests", description="Of those, at once.")
    http_per_second_address: float = Field(
        20.0,
        ge=0.01,
        le=100_000.0,
        title="requests a second",
        description="Of one network address at the whole node, if not signed by keys that the ledger names.",
    )
    http_burst_address: int = Field(200, ge=1, le=1_000_000, title="requests", description="Of those, at once.")


class Settings(HttpSettings):
    """The settings of one node. Made by ``load``."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT, extra="forbid", frozen=True, validate_default=True)

    listen_host: str = Field(
        "127.0.0.1", min_length=1, max_length=253, description="Address on which members and wallets reach this node."
    )
    listen_port: Port = Field(8443, description="Port of that address; 0 takes one that is free.")
    admin_host: str = Field(
        "127.0.0.1", min_length=1, max_length=253, description="Address of health and metrics; keep it private."
    )
    admin_port: Port = Field(9443, description="Port of that address; 0 takes one that is free.")
    api_workers: int = Field(
        2, ge=1, le=64, description="Processes that answer requests, beside the one that writes.", title="processes"
    )
    block_every_s: float = Field(
        10.0,
        ge=0.1,
        le=10.0,
        title="seconds",
        description="At least so often whoever orders makes a block. Custodians take an older head for a cut.",
    )
    cometbft_program: str = Field(
        "cometbft",
        pattern=r"^[A-Za-z0-9 _./@+~-]{1,1000}$",
        description="CometBFT's program, by path or by name, where a network's blocks are ordered by it.",
    )
    peers_host: str = Field(
        "127.0.0.1", min_length=1, max_length=253, description="Address on which it is reached by other members'."
    )
    peers_port: Port = Field(26_656, description="Port of that address.")
    peers_known: str = Field(
        "",
        pattern=r"^([0-9a-f]{40}@[A-Za-z0-9.:_\[\]-]{1,260}( [0-9a-f]{40}@[A-Za-z0-9.:_\[\]-]{1,260})*)?$",
        description="Others to connect to besides those of the network file: `id@host:port`, with blanks between.",
    )
    peers_one_host: bool = Field(
        default=False, description="Whether several members' nodes run on one address, as on one machine."
    )
    peers_only: bool = Field(
        default=False,
        description="Whether it connects to those of `peers_known` alone and lets nobody else in: behind sentries.",
    )
    peers_behind: str = Field(
        "",
        pattern=r"^([0-9a-f]{40}( [0-9a-f]{40})*)?$",
        description="Ids of nodes that are always let in and never told to others, with blanks between: at a sentry.",
    )
    mempool_limit: int = Field(
        60_000,
        ge=10,
        le=1_000_000,
        title="transactions",
        description="Under CometBFT, transactions that may wait for a block.",
    )
    snapshot_every_blocks: int = Field(
        1_000,
        ge=10,
        le=1_000_000,
        title="blocks",
        description="Under CometBFT, a snapshot at each height that this divides; the same at all members.",
    )
    follow_wait_s: float = Field(
        20.0, ge=0.1, le=60.0, title="seconds", description="How long another node may hold a question for new blocks."
    )
    retry_first_s: float = Field(
        0.2,
        ge=0.01,
        le=10.0,
        title="seconds",
        description="Wait before the first retry: of a node that did not answer, of a process that died. Then doubled.",
    )
    retry_most_s: float = Field(
        30.0, ge=0.1, le=600.0, title="seconds", description="The longest such wait; it is drawn from its upper half."
    )
    steady_s: float = Field(
        60.0,
        ge=1.0,
        le=3_600.0,
        title="seconds",
        description="A process that ran for so long before it died is started again at once.",
    )
    silent_s: float = Field(
        30.0,
        ge=1.0,
        le=3_600.0,
        title="seconds",
        description="A process that shows no life for so long hangs: it is killed, and started again.",
    )
    begin_within_s: float = Field(
        900.0,
        ge=5.0,
        le=86_400.0,
        title="seconds",
        description="The same before its first sign of life: until then it opens what there is, which may be much.",
    )
    stop_within_s: float = Field(
        20.0,
        ge=0.5,
        le=300.0,
        title="seconds",
        description="From SIGTERM to the end; what is not done then is killed, and nothing acknowledged is lost.",
    )
    hedge_after_s: float = Field(
        0.5, ge=0.01, le=30.0, title="seconds", description="Silence after which one custodian more is asked."
    )
    min_free_bytes: int = Field(
        200 * 1024 * 1024,
        ge=1024 * 1024,
        le=2**50,
        title="bytes",
        description="With less room than this on the disk of its home, a node says that it is not ready.",
    )
    anchor_every_s: float = Field(
        60.0,
        ge=0.5,
        le=86_400.0,
        title="seconds",
        description="So often a custodian with new releases puts the root of its log on the ledger.",
    )
    blocks_quota_bytes: int = Field(
        100 * 2**30, ge=0, le=2**60, title="bytes", description="What each other member may keep here."
    )
    blocks_wallets_quota_bytes: int = Field(
        10 * 2**30, ge=0, le=2**60, title="bytes", description="What all wallets together may bring here by links."
    )
    blocks_check_bytes: int = Field(
        4 * 2**20,
        ge=1_024,
        le=2**40,
        title="bytes",
        description="How much the check in the background reads each second, to find damaged and missing blocks.",
    )
    blocks_rest_s: float = Field(
        60.0,
        ge=1.0,
        le=86_400.0,
        title="seconds",
        description="Between two rounds of that check, of collecting what nobody wants, and of finishing imports.",
    )
    blocks_open: bool = Field(
        default=False,
        description="Whether anyone may fetch blocks, which are ciphertext, or only members and who has a link.",
    )
    blocks_s3_endpoint: str = Field(
        "",
        pattern=r"^(https?://[A-Za-z0-9.:\[\]-]{1,260})?$",
        description="Blocks go to this S3 service, `https://host:port`, and not into the home; empty: into the home.",
    )
    blocks_s3_bucket: str = Field("", pattern=r"^[a-z0-9.-]{0,63}$", description="The bucket; it has to be there.")
    blocks_s3_prefix: str = Field(
        "caremesh",
        pattern=r"^[A-Za-z0-9._/-]{1,200}$",
        description="What all names in the bucket begin with; each node its own.",
    )
    blocks_s3_region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{1,63}$", description="The region of the bucket.")
    web_origins: str = Field(
        "",
        pattern=r"^(https?://[A-Za-z0-9.:\[\]-]{1,260}( https?://[A-Za-z0-9.:\[\]-]{1,260})*)?$",
        description="Origins of web pages that may ask this node, such as a web wallet's, with blanks between.",
    )
    traces_endpoint: str = Field(
        "",
        pattern=r"^(https?://[A-Za-z0-9.:\[\]-]{1,260}(/[A-Za-z0-9._/-]{0,200})?)?$",
        description="Traces go to this OTLP/HTTP address, as `http://127.0.0.1:4318/v1/traces`; empty: there are none.",
    )
    traces_share: float = Field(
        1.0, ge=0.0, le=1.0, title="of 1", description="Of the requests that begin a trace at this node, so many do."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is logged at least: one JSON object a line, on standard error."
    )

    @field_validator("listen_host", "admin_host", "peers_host")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        if not all(sign.isalnum() or sign in ".:-_" for sign in value):
            raise ValueError("a host name or an address")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before the environment before the file; no other source."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load(home: Path, flags: Mapping[str, str] | None = None, environment: Sequence[str] = ()) -> Settings:
    """The settings of the node in ``home``. ``environment``: names of the variables that are set, to find slips.

    Raises BadInput settings.01 and settings.04 with the setting's name, settings.02, settings.03.
    """
    file = home / FILE
    if file.exists():
        _read(file)
    _check_names(environment)

    class Here(Settings):
        model_config = SettingsConfigDict(**{**Settings.model_config, "toml_file": file})

    values: dict[str, Any] = dict(flags or {})
    try:
        return Here(**values)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]  # name and rule of it are told, not the value
        name = ".".join(map(str, found["loc"]))
        if found["type"] == "extra_forbidden":
            raise BadInput(UNKNOWN, name) from None
        raise BadInput(NOT_VALID, f"{name}: {found['msg']}") from None


def names() -> list[str]:
    """The settings, in the order of the page."""
    return list(Settings.model_fields)


def flags_of(words: Sequence[str]) -> dict[str, str]:
    """``--name value`` and ``--name=value`` as settings. Raises BadInput settings.04, settings.01 without a value."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        flag, assigned, value = rest.pop(0).partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in Settings.model_fields:
            raise BadInput(UNKNOWN, flag)
        if not assigned:
            if not rest:
                raise BadInput(NOT_VALID, f"{name}: no value")
            value = rest.pop(0)
        found[name] = value
    return found


def limits(name: str) -> dict[str, Any]:
    """What the page says of a setting: unit, default, limits, sentence."""
    field = Settings.model_fields[name]
    bounds = {key: getattr(rule, key) for rule in field.metadata for key in ("ge", "le") if hasattr(rule, key)}
    return {"unit": field.title or "", "default": field.default, "sentence": field.description or "", **bounds}


def _read(file: Path) -> None:
    try:
        tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(NOT_TOML, f"{file.name}: {error}") from None
    except OSError as error:
        raise BadInput(NOT_READABLE, file.name) from error


def _check_names(environment: Sequence[str]) -> None:
    for variable in sorted(environment):
        name = variable.upper().removeprefix(ENVIRONMENT).lower()
        ours = variable.upper().startswith(ENVIRONMENT)
        if ours and name not in Settings.model_fields and name not in OF_COMMANDS:
            raise BadInput(UNKNOWN, variable)
