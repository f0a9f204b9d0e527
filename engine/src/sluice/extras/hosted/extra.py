"""What the extra `hosted` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import HERE, Extra

# Attacks ask models too, where that extra is there.
_ATTACKS = (
    "jobs > red-team > environment",
    "jobs > red-team > permissions > id-token",
    "jobs > red-team > steps > name=Sign in to AWS, for models that are asked without a key",
    "jobs > red-team > steps > name=Attack what main would release, with and without its guards > env",
)
EXTRA = Extra(
    summary="compares pull requests with a hosted model, although they have no key",
    commands="cli:register",
    hooks={
        "unanswered": "answers_file:unanswered",
        "schemas": "request_file:schemas",
        "variables": "doctor:secrets",
        "github": "doctor:checks",
        "account": "doctor:account_checks",
    },
    files=(
        ".github/workflows/answer-requests.yml",
        "config/hosted.yaml",
        "engine/docs/decisions/keyless-pull-requests.md",
        "engine/docs/reference/hosted-models-on-github.md",
        "engine/schemas/request.schema.json",
        "engine/tests/support/actions_api.py",
        "engine/tests/workflows/test_answer_requests.py",
    ),
    shared={"doctor": ("engine/src/sluice/extras/hosted/doctor.py", "engine/tests/unit/extras/hosted/test_doctor.py")},
    entries={
        ".github/workflows/ci.yml": (
            "jobs > eval > permissions > actions",
            "jobs > eval > steps > name=Take what main has asked for any run",
            "jobs > eval > steps > name=Take what answer-requests has asked for this run",
            "jobs > eval > steps > name=Keep what could not be asked",
        ),
        ".github/workflows/nightly.yml": (
            "jobs > evaluate > environment",
            "jobs > evaluate > permissions > id-token",
            "jobs > evaluate > steps > name=Sign in to AWS, for models that are asked without a key",
            "jobs > evaluate > steps > name=Train, ask every case, gates, rehearsal > env",
            *(_ATTACKS if (HERE / "redteam").is_dir() else ()),
        ),
        ".github/workflows/release.yml": (
            "jobs > release > environment",
            "jobs > release > steps > id=stage > env > PROVIDER_KEYS",
            "jobs > rehearse > environment",
            "jobs > rehearse > steps > id=rehearse > env > PROVIDER_KEYS",
        ),
    },
    lines={
        ".github/workflows/ci.yml": ("What is not in it is answered then: answer-requests.yml",),
        "docs/aws.md": ("`sluice-evaluation`", "AWS_EVALUATION_ROLE_ARN"),
        "engine/docs/README.md": ("pull requests with a hosted model, which have no key",),
        "docs/hosted-models.md": ("On GitHub set one secret, `PROVIDER_KEYS`",),
        "engine/docs/decisions/README.md": ("pull requests are compared without a key",),
        "engine/docs/reference/workflow-tests.md": ("runs of Actions and their artifacts",),
        "engine/docs/reference/workflows.md": (
            "- `answer-requests.yml` asks for answers",
            "- one exception, `answer-requests.yml`",
        ),
    },
)
