"""Series with which the alerts about the infrastructure fire, and with which they do not.

Metrics and labels are those of support/kubernetes/exporters.yaml, which a test holds. Values are each minute's.
"""

from __future__ import annotations

Case = tuple[int, dict[str, str]]

OURS = {'kube_service_info{namespace="ours", service="sluice-stable"}': "1x6000"}


def _traefik(service: str, ok: str, broken: str) -> dict[str, str]:
    labels = f'protocol="http", method="POST", service="{service}"'
    return {
        f'traefik_service_requests_total{{{labels}, code="200"}}': ok,
        f'traefik_service_requests_total{{{labels}, code="502"}}': broken,
    }


def _connections(backends: str, most: str) -> dict[str, str]:
    pod = 'namespace="ours", pod="postgres-1"'
    return {
        f'cnpg_backends_total{{{pod}, state="idle", usename="sluice"}}': backends,
        f'cnpg_backends_total{{{pod}, state="active", usename="sluice"}}': "5x60",
        f'cnpg_pg_settings_setting{{{pod}, name="max_connections"}}': most,
        f'cnpg_pg_settings_setting{{{pod}, name="work_mem"}}': "1x60",
    }


def _waiting(waiting: str, running: str) -> dict[str, str]:
    return {
        'vllm:num_requests_waiting{namespace="ours", pod="vllm-1", engine="0"}': waiting,
        'vllm:num_requests_running{namespace="ours", pod="vllm-1", engine="0"}': running,
    }


def _job(owner: str, failed: str) -> dict[str, str]:
    job = 'namespace="ours", job_name="one"'
    return OURS | {
        f'kube_job_failed{{{job}, condition="true"}}': failed,
        f'kube_job_owner{{{job}, owner_kind="{owner}"}}': "1x60",
    }


def _node(namespace: str, condition: str, status: str, value: str) -> dict[str, str]:
    return OURS | {
        f'kube_pod_info{{namespace="{namespace}", pod="a", node="n1"}}': "1x60",
        f'kube_node_status_condition{{node="n1", condition="{condition}", status="{status}"}}': value,
    }


def _node_exporter(memory: str, disk: str) -> dict[str, str]:
    root = 'instance="n1:9100", device="/dev/vda", fstype="ext4", mountpoint="/"'
    return {
        'node_memory_MemAvailable_bytes{instance="n1:9100"}': memory,
        'node_memory_MemTotal_bytes{instance="n1:9100"}': "100x60",
        f"node_filesystem_avail_bytes{{{root}}}": disk,
        f"node_filesystem_size_bytes{{{root}}}": "100x60",
    }


def _volume(namespace: str, free: str) -> dict[str, str]:
    labels = f'namespace="{namespace}", persistentvolumeclaim="mlflow"'
    return OURS | {
        f"kubelet_volume_stats_available_bytes{{{labels}}}": free,
        f"kubelet_volume_stats_capacity_bytes{{{labels}}}": "100x60",
    }


def _deployment(name: str, available: str, wanted: str) -> dict[str, str]:
    labels = f'namespace="ours", deployment="{name}"'
    return OURS | {
        f"kube_deployment_status_replicas_available{{{labels}}}": available,
        f"kube_deployment_spec_replicas{{{labels}}}": wanted,
    }


# Alert -> the case with which it fires, those with which it does not.
CASES: dict[str, tuple[Case, list[Case]]] = {
    "SluiceTargetDown": (
        (10, OURS | {'up{namespace="ours", job="ours/sluice-postgres", pod="postgres-1"}': "0x60"}),
        [
            (10, OURS | {'up{namespace="other", job="other/sluice-postgres", pod="postgres-1"}': "0x60"}),
        ],
    ),
    "SluiceWorkloadDown": (
        (10, _deployment("mlflow", "0x60", "1x60")),
        [
            (10, _deployment("mlflow", "1x60", "1x60")),
        ],
    ),
    "SluicePostgresDown": (
        (5, {'cnpg_collector_up{namespace="ours", pod="postgres-1", cluster="postgres"}': "0x60"}),
        [(5, {'pg_up{namespace="ours", pod="exporter"}': "1x60"})],
    ),
    "SluicePostgresConnections": ((10, _connections("80x60", "100x60")), [(10, _connections("70x60", "100x60"))]),
    "SluicePostgresLag": (
        (10, {'cnpg_pg_replication_lag{namespace="ours", pod="postgres-2"}': "45x60"}),
        [(10, {'pg_replication_lag_seconds{namespace="ours", pod="exporter"}': "5x60"})],
    ),
    "SluicePostgresStandbyLost": (
        (90, {'cnpg_pg_replication_streaming_replicas{namespace="ours", pod="postgres-1"}': "2x60 1x60"}),
        [(90, {'cnpg_pg_replication_streaming_replicas{namespace="ours", pod="postgres-1"}': "2x60 1x5 2x60"})],
    ),
    "SluiceVolumeFilling": (
        (30, _volume("ours", "10x60")),
        [(30, _volume("ours", "20x60"))],
    ),
    "SluiceRouterErrors": (
        (30, _traefik("ours_sluice-stable_80@kubernetescrd", "0+50x60", "0+10x60")),
        [
            (30, _traefik("ours_sluice-stable_80@kubernetescrd", "0+60x60", "0+1x60")),
        ],
    ),
    "SluiceCertificateEnds": (
        (70, {'traefik_tls_certs_not_after{cn="sluice.example.com"}': "864000x80"}),
        [(70, {'traefik_tls_certs_not_after{cn="sluice.example.com"}': "1728000x80"})],
    ),
    "SluiceModelQueue": (
        (20, _waiting("20x60", "8x60")),
        [(20, _waiting("3x60", "8x60"))],
    ),
    "SluiceModelCacheFull": (
        (
            30,
            {
                'vllm:kv_cache_usage_perc{namespace="ours", pod="vllm-1", engine="0"}': "0.99x60",
                'vllm:num_preemptions_total{namespace="ours", pod="vllm-1", engine="0"}': "0+3x60",
            },
        ),
        [
            (
                30,
                {
                    'vllm:kv_cache_usage_perc{namespace="ours", pod="vllm-1", engine="0"}': "0.99x60",
                    'vllm:num_preemptions_total{namespace="ours", pod="vllm-1", engine="0"}': "0x60",
                },
            )
        ],
    ),
    "SluiceAdapterMissing": (
        (15, {'sluice_vllm_ready{namespace="ours", pod="vllm-1"}': "0x60"}),
        [
            (15, {'sluice_vllm_ready{namespace="ours", pod="vllm-1"}': "0x8 1x60"}),
        ],
    ),
    "SluiceGpuFault": (
        (40, {'DCGM_FI_DEV_XID_ERRORS{gpu="0", UUID="GPU-1"}': "0x30 79x60"}),
        [
            (40, {'DCGM_FI_DEV_XID_ERRORS{gpu="0", UUID="GPU-1"}': "0x60"}),
        ],
    ),
    "SluiceGpuHot": (
        (20, {'DCGM_FI_DEV_GPU_TEMP{gpu="0", UUID="GPU-1"}': "90x60"}),
        [(20, {'DCGM_FI_DEV_GPU_TEMP{gpu="0", UUID="GPU-1"}': "80x60"})],
    ),
    "SluicePodPending": (
        (20, OURS | {'kube_pod_status_phase{namespace="ours", pod="load-1", phase="Pending"}': "1x60"}),
        [
            (20, OURS | {'kube_pod_status_phase{namespace="ours", pod="load-1", phase="Running"}': "1x60"}),
        ],
    ),
    "SluiceJobFailed": ((5, _job("<none>", "1x60")), [(5, _job("AnalysisRun", "1x60"))]),
    "SluiceJobLong": (
        (
            75,
            OURS
            | {
                'kube_job_status_start_time{namespace="ours", job_name="one"}': "0x100",
                'kube_job_status_active{namespace="ours", job_name="one"}': "1x100",
            },
        ),
        [
            (
                75,
                OURS
                | {
                    'kube_job_status_start_time{namespace="ours", job_name="one"}': "0x100",
                    'kube_job_status_active{namespace="ours", job_name="one"}': "1x20 0x100",
                },
            )
        ],
    ),
    "SluiceRestarts": (
        (
            50,
            OURS | {'kube_pod_container_status_restarts_total{namespace="ours", pod="a"}': "0x20 1x10 2x5 4x60"},
        ),
        [
            (
                50,
                OURS | {'kube_pod_container_status_restarts_total{namespace="ours", pod="a"}': "0x20 1x60"},
            )
        ],
    ),
    "SluiceNodeUnwell": (
        (10, _node("ours", "DiskPressure", "true", "1x60")),
        [
            (10, _node("ours", "Ready", "true", "1x60")),
        ],
    ),
    "SluiceNodeFull": (
        (20, _node_exporter("50x60", "5x60")),
        [(20, _node_exporter("50x60", "50x60"))],
    ),
}
# What else an alert fires for.
MORE: dict[str, list[Case]] = {
    "SluiceWorkloadDown": [
        (
            10,
            OURS
            | {
                'kube_statefulset_status_replicas_ready{namespace="ours", statefulset="postgres"}': "0x60",
                'kube_statefulset_replicas{namespace="ours", statefulset="postgres"}': "1x60",
            },
        )
    ],
    "SluicePostgresDown": [(5, {'pg_up{namespace="ours", pod="exporter"}': "0x60"})],
    "SluicePostgresConnections": [
        (
            10,
            {
                'pg_stat_activity_count{namespace="ours", pod="exporter", state="idle"}': "90x60",
                'pg_settings_max_connections{namespace="ours", pod="exporter", server="postgres:5432"}': "100x60",
            },
        )
    ],
    "SluicePostgresLag": [(10, {'pg_replication_lag_seconds{namespace="ours", pod="exporter"}': "45x60"})],
    "SluiceAdapterMissing": [(15, {'sluice_vllm_adapters{namespace="ours", pod="vllm-1", state="refused"}': "1x60"})],
    "SluiceRouterErrors": [(30, _traefik("ours-sluice-canary-80@kubernetescrd", "0+50x60", "0+10x60"))],
    "SluiceGpuFault": [
        (40, {'DCGM_FI_DEV_ROW_REMAP_FAILURE{gpu="0", UUID="GPU-1"}': "1x60"}),
        (40, {'DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{gpu="0", UUID="GPU-1"}': "0x30 2x60"}),
    ],
    "SluiceNodeUnwell": [(10, _node("ours", "Ready", "unknown", "1x60"))],
    "SluiceNodeFull": [(20, _node_exporter("1x60", "50x60"))],
}
