"""`sluice data generate`: connects the data of a checkout with the models of its roles."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.progress import StageReporter
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.rows import load_corpus, load_rows
from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.extras.prompt_tests.run_prompt_tests import open_role
from sluice.extras.synthetic import generation_files
from sluice.extras.synthetic.generate_rows import GenerationResult, GenerationSettings, generate
from sluice.extras.synthetic.source_passages import choose
from sluice.extras.synthetic.teacher_models import TeacherRole, TeacherRoles
from sluice.llm.model_files import Models
from sluice.llm.settings import PROMPT_ROLES, Providers, load_providers
from sluice.prompts import load_prompt
from sluice.retrieval.index_stage import IndexParameters
from sluice.serving.settings import ServiceSettings

TEACHER = "teacher"


@dataclass(frozen=True)
class GenerationReport:
    """What was found, and who found the answers again."""

    found: GenerationResult
    checker: str

    @property
    def files(self) -> dict[str, str]:
        """As for proposals.files."""
        return generation_files.files(self.found, self.checker)


def run(
    workspace: Workspace, settings: GenerationSettings, policy: PrivacyPolicy, *, checked_by: str = TEACHER
) -> GenerationReport:
    """Rows about data/corpus, written by the role `teacher` and found again by the role `checked_by`.

    Model responses are cached in .sluice/responses/: the same command repeats no request, so an interrupted run
    resumes. SluiceError for a role without providers, and as `generate` raises it.
    """
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles())
    service = load_settings(workspace.config / "service.yaml", ServiceSettings)
    chunker = load_params(workspace.params, "index", IndexParameters).chunker
    measured = load_rows(workspace.data / "eval.jsonl")
    known = [*load_rows(workspace.data / "train.jsonl"), *measured]
    passages = choose(load_corpus(workspace.data / "corpus"), measured, chunker, seed=settings.seed)
    progress = StageReporter("generate")
    with ExitStack() as opened:
        chats = {
            name: opened.enter_context(open_role(workspace, _held(providers, name), name, _cache(workspace)))
            for name in dict.fromkeys((TEACHER, checked_by))
        }
        teacher, checker = (
            TeacherRole(
                chats[role],
                load_prompt(workspace.prompts / f"{prompt}.prompt.yml", roles=PROMPT_ROLES),
                getattr(providers, role),
                service.llm.timeout_seconds,
            )
            for role, prompt in ((TEACHER, "generate"), (checked_by, "answer"))
        )
        roles = TeacherRoles(teacher, checker, service.decline, settings.seed)
        found = generate(
            passages,
            known,
            roles,
            teacher.prompt.digest,
            settings,
            policy,
            lambda done, wanted: progress.report(done, wanted, f"{done} of {wanted} rows"),
        )
    return GenerationReport(found, checker.names)


def _held(providers: Providers, role: str) -> Providers:
    if role not in PROMPT_ROLES or not getattr(providers, role):
        raise SluiceError(
            f"config/providers.yaml: no provider in the role {role}",
            remedy="list a provider there; engine/docs/reference/providers.md lists the keys of an entry",
        )
    return providers


def _cache(workspace: Workspace) -> ResponseCache:
    return ResponseCache(workspace.state / FOLDER)
