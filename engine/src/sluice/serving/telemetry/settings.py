"""config/telemetry.yaml: exporters, sampling, contents of traces, the log. It belongs to the environment, not to the
release: in production another collector may take what the same release exports."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sluice.core.settings import Settings, nearest

EXPORTERS = ("langfuse", "mlflow", "otlp")


class MlflowSettings(Settings):
    """Without `tracking_uri` traces are written to files under .sluice/traces/."""

    tracking_uri: str = Field("", pattern=r"^$|^https?://", description="an MLflow server, or empty")
    experiment: str = Field("service", min_length=1, description="name of the experiment that holds the traces")
    spool_mib: int = Field(64, ge=1, description="largest size of the files that wait to be loaded")


class LangfuseSettings(Settings):
    """The keys come from LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, an empty `base_url` from LANGFUSE_BASE_URL."""

    base_url: str = Field("", pattern=r"^$|^https?://")
    environment: str = Field("default", min_length=1, description="Langfuse's word for staging, production, …")


class OtlpSettings(Settings):
    """`headers_env` names a variable that holds `name=value,name=value`, for collectors that want a token."""

    endpoint: str = Field("http://127.0.0.1:4318/v1/traces", pattern=r"^https?://", description="the whole address")
    headers_env: str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"


class TraceSettings(Settings):
    exporters: tuple[str, ...] = Field(description="any of mlflow, langfuse, otlp; or the word none")
    ratio: float = Field(0.1, ge=0, le=1, description="share of the questions that is traced when the caller is silent")
    contents: bool = Field(False, description="record questions, answers and passages, after redaction")
    queue: int = Field(8192, ge=1, description="spans waiting for one exporter; more are dropped and counted")
    timeout_seconds: float = Field(5, gt=0, description="to deliver a batch, with every attempt")
    flush_seconds: float = Field(3, ge=0, description="at the end of the drain, for all exporters together")
    mlflow: MlflowSettings = Field(default_factory=lambda: MlflowSettings.model_validate({}))
    langfuse: LangfuseSettings = Field(default_factory=lambda: LangfuseSettings.model_validate({}))
    otlp: OtlpSettings = Field(default_factory=lambda: OtlpSettings.model_validate({}))

    @field_validator("exporters", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return () if value in ("none", ["none"]) else value

    @model_validator(mode="after")
    def _known_and_once(self) -> Self:
        for name in self.exporters:
            if name not in EXPORTERS:
                raise ValueError(f"exporters: no exporter {name!r}{nearest(name, list(EXPORTERS))}")
        if len(set(self.exporters)) != len(self.exporters):
            raise ValueError("exporters: one is listed twice")
        return self


class LogSettings(Settings):
    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "json", "text"] = Field(description="auto: text on a terminal, JSON elsewhere")
    access: bool = Field(description="one line for each request")


class TelemetrySettings(Settings):
    traces: TraceSettings
    logs: LogSettings


SILENT = TelemetrySettings.model_validate(
    {"traces": {"exporters": "none"}, "logs": {"level": "warning", "format": "auto", "access": False}}
)
