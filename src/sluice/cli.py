"""The only front door: `sluice <noun> <verb>`. Make targets, pipeline stages and workflow steps are each one such call.

Commands import what they need when they run, so that `sluice --help` is quick. Errors are caught once, in `main`.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.core.errors import CanaryStopped, GateFailed, SluiceError
from sluice.core.processes import die_with_parent, watch_parent
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.prompts import Prompt

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they may hold keys
    help="Ship LLM applications in small, measured steps.",
)
release_app = typer.Typer(no_args_is_help=True, help="Make, list, show and roll back releases.")
data_app = typer.Typer(no_args_is_help=True, help="Check and import data.")
index_app = typer.Typer(no_args_is_help=True, help="Build the search index.")
prompts_app = typer.Typer(no_args_is_help=True, help="Check, list, show, compare and try prompts.")
judge_app = typer.Typer(no_args_is_help=True, help="Compare the judge of answers with people.")
models_app = typer.Typer(no_args_is_help=True, help="Fetch and verify models.")
traces_app = typer.Typer(no_args_is_help=True, help="Load the traces of the service into MLflow.")
keys_app = typer.Typer(no_args_is_help=True, help="Give out, list and revoke API keys.")
for noun, group in (
    ("release", release_app),
    ("data", data_app),
    ("index", index_app),
    ("prompts", prompts_app),
    ("judge", judge_app),
    ("models", models_app),
    ("traces", traces_app),
    ("keys", keys_app),
):
    app.add_typer(group, name=noun)

INTERRUPTED = 130
Fault = Annotated[str, typer.Option(help="Drill: inject `delay=SECONDS` or `error=SHARE` into the canary.")]
PortOption = Annotated[int, typer.Option(help="Port on the loopback address.")]


@release_app.command("make")
def release_make(fault: Fault = "") -> None:
    """Take the working tree down the whole road: check, index, train, evaluate, gates, rehearsal, champion."""
    from sluice.arrival import show_arrival
    from sluice.road import make_release

    arrival = make_release(Workspace.find(), fault=fault)
    show_arrival(arrival)
    if not arrival.passed:
        refusal = CanaryStopped if arrival.rehearsal else GateFailed
        remedy = "the champion stays live; the report shows the cases"
        raise refusal(f"release {arrival.manifest.id} was {arrival.verdict}: {arrival.reason}", remedy=remedy)


@release_app.command("list")
def release_list() -> None:
    """The journal: what was promoted and refused, and why."""
    from sluice.release import champion

    workspace = Workspace.find()
    live = champion.champion_id(workspace)
    for event in champion.history(workspace):
        mark = "*" if event.id == live else " "
        print(f"{mark} {event.time}  {event.event:<9}  {event.id}  {event.reason}")


@release_app.command("show")
def release_show(release: Annotated[str, typer.Argument(help="Release id; default: the champion.")] = "") -> None:
    """The manifest of a release."""
    print(json.dumps(_release(Workspace.find(), release)[0].model_dump(mode="json"), indent=2, ensure_ascii=False))


@release_app.command("rollback")
def release_rollback(release: Annotated[str, typer.Argument(help="Id of the release to serve again.")]) -> None:
    """Make an earlier release the champion again. Its files are verified first."""
    from sluice.release import champion

    workspace = Workspace.find()
    with workspace.exclusive():
        champion.promote(workspace, release, reason="rolled back by hand")
    print(f"{release} is the champion")


@app.command()
def rehearse(
    release: Annotated[str, typer.Argument(help="Release id of the canary.")],
    fault: Fault = "",
) -> None:
    """Rehearse the canary of a release beside the champion, with real processes and load. Promotes nothing."""
    from sluice.core.progress import Journey
    from sluice.release import champion
    from sluice.road import EXPECTED, run_rehearsal

    workspace = Workspace.find()
    with workspace.exclusive():
        live = champion.champion(workspace)
        if live is None:
            raise SluiceError("there is no champion to rehearse against", remedy="run `make release` first")
        if release == live.id:
            raise SluiceError(f"{release} is the champion itself", remedy="`sluice release list` names the others")
        journey = Journey({"rehearse": EXPECTED["rehearse"]}, workspace.state / "durations.json")
        result = run_rehearsal(workspace, _release(workspace, release)[0], live, journey=journey, fault=fault)
    if result.verdict != "passed":
        raise CanaryStopped(f"the canary {release} was stopped: {result.reason}")


@app.command()
def serve(
    release: Annotated[Path | None, typer.Option(help="Release folder; default: the champion's.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: PortOption = 8080,
    fault: Fault = "",
    keyless: Annotated[
        bool, typer.Option("--keyless", help="Ask nobody for a key; for the loopback address only.")
    ] = False,
) -> None:
    """Serve exactly one release, after verifying every digest of its manifest.

    Addresses other than loopback are served only when there are API keys (`sluice keys add`)."""
    from sluice.app.server import serve as run_server
    from sluice.app.telemetry.settings import TelemetrySettings
    from sluice.core.settings import load_settings
    from sluice.release.bundles import open_bundle
    from sluice.retrieval.stores import Stores

    workspace = Workspace.find()
    folder = release or _release(workspace, "")[1]
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    telemetry = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings)
    run_server(
        open_bundle(folder, workspace),
        host,
        port,
        stores=stores,
        state=workspace.state,
        fault=fault or None,
        telemetry=telemetry,
        keyless=keyless,
    )


@app.command()
def train() -> None:
    """Fine-tune the adapter (pipeline stage)."""
    from sluice.training.stage import run

    run(Workspace.find())


@app.command()
def evaluate(
    release: Annotated[str, typer.Option(help="Release id; default: what is in build/.")] = "",
    baseline: Annotated[bool, typer.Option("--baseline", help="The base model without an adapter.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: build/evaluation.")] = None,
    asked: Annotated[Path | None, typer.Option(help="A file of rows to ask in place of data/eval.jsonl.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Answer out of the response cache only.")] = False,
) -> None:
    """Ask the application every case of data/eval.jsonl and score the answers (pipeline stage)."""
    from sluice.app.bundle import draft_bundle
    from sluice.evaluation.stage import run
    from sluice.release.bundles import open_bundle

    workspace = Workspace.find()
    if release:
        bundle = open_bundle(_release(workspace, release)[1], workspace)
    else:
        bundle = draft_bundle(workspace, adapter=None if baseline else workspace.build / "adapter" / "adapter.gguf")
    summary = run(workspace, bundle, out or workspace.build / "evaluation", asked=asked, replay=replay)
    _print_json({name: metric["value"] for name, metric in summary["metrics"].items()})


@app.command("eval")
def eval_change(
    base: Annotated[str, typer.Option(help="Branch, tag or commit that the change is for.")] = "origin/main",
    head: Annotated[str, typer.Option(help="Branch, tag or commit of the change; default: the working tree.")] = "",
    replay: Annotated[bool, typer.Option("--replay", help="Answer out of the response cache only.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the reports; default: build/comparison.")] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="In GitHub Actions: into the job summary and the pull request's comment.")
    ] = False,
) -> None:
    """Compare a change with what it changes, case by case: what got better, what broke, how sure that is."""
    from sluice.evaluation.reports import COMMENT, PAGE
    from sluice.evaluation.reports.terminal import in_the_terminal
    from sluice.review import review

    found = review(Workspace.find(), base, head, replay=replay, out=out)
    print(found.title)
    if found.replayed:
        print(f"nobody was asked ({found.replayed}): answers are those of the response cache")
    if found.comparison is None or found.reports is None:
        text = "Nothing changed: no question has to be asked.\n"
    else:
        text = (found.reports / COMMENT).read_text()
        print(in_the_terminal(found.comparison))
        print(f"reports: {found.reports}")
    if publish:
        _publish(text)
    if found.comparison is None:
        print(text.strip())
    elif not found.comparison.passed:
        remedy = f"{found.reports}/{PAGE} shows the cases"
        raise GateFailed(f"the verdict is: {found.comparison.verdict}", remedy=remedy)


def _publish(text: str) -> None:
    import os

    from sluice.forge.comment import upsert_comment
    from sluice.forge.job_summary import write_job_summary

    print(write_job_summary(text, os.environ), file=sys.stderr)
    print(upsert_comment(text, os.environ, marker="sluice-eval").message, file=sys.stderr)


@data_app.command("check")
def data_check(out: Annotated[Path | None, typer.Option(help="Where to write the report.")] = None) -> None:
    """Check data/ against the contract; every fault at once (pipeline stage)."""
    from sluice.core.files import write_json
    from sluice.data.contract import check_or_raise

    report = check_or_raise(Workspace.find().data)
    summary = report.as_dict()
    if out:
        write_json(out, summary)
    _print_json(summary)


@data_app.command("import-squad")
def data_import_squad(
    source: Annotated[Path, typer.Argument(help="A file in SQuAD 1.1 or 2.0 JSON.")],
    out: Annotated[Path, typer.Argument(help="Folder to create.")],
    train_articles: Annotated[
        int, typer.Option(help="The first N articles are for training, the rest for evaluation.")
    ],
    licence: Annotated[str, typer.Option(help="Licence of the texts, where the file names none.")] = "",
    origin: Annotated[str, typer.Option(help="Where the texts are from, where the file does not say.")] = "",
) -> None:
    """Import a SQuAD file as a data folder; what is dropped is listed with its reason."""
    from dataclasses import asdict

    from sluice.data.imports import squad

    imported = squad(source, out, train_articles=train_articles, licence=licence or None, source=origin or None)
    _print_json(asdict(imported))


@data_app.command("import")
def data_import(
    source: Annotated[Path, typer.Argument(help="A .csv, .tsv or .jsonl file, one question a line.")],
    out: Annotated[Path, typer.Argument(help="The .jsonl file of rows to create.")],
    column: Annotated[
        list[str] | None, typer.Option(help="key=column where they differ, such as question=Frage; may be given again.")
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Between columns of a .csv; default: the one of its first line.")] = "",
    separator: Annotated[str, typer.Option(help="Between the entries of answers, doc_ids and tags in a .csv.")] = "|",
    tag: Annotated[list[str] | None, typer.Option(help="Tag for every row; may be given again.")] = None,
) -> None:
    """Import questions as rows about data/corpus; what is dropped is listed with its reason. SQuAD: import-squad."""
    from sluice.data.tables import Layout, import_table, parse_columns

    layout = Layout(parse_columns(column or []), delimiter, separator, tuple(tag or []))
    _print_json(import_table(source, out, Workspace.find().data, layout).as_dict())


@index_app.command("build")
def index_build() -> None:
    """Build build/index from data/corpus and load its collection (pipeline stage)."""
    from sluice.retrieval.stage import run

    info = run(Workspace.find())
    print(f"{info.collection}: {info.documents} documents, {info.chunks} chunks")


@prompts_app.command("check")
def prompts_check() -> None:
    """Check every file in prompts/; all faults at once, with file and line."""
    prompts = _prompts()
    print(f"{len(prompts)} prompts without a fault: {', '.join(prompts)}")


@prompts_app.command("list")
def prompts_list() -> None:
    """Every prompt: name, digest, role of the model, variables, description."""
    from sluice.prompts.terminal import print_prompts

    print_prompts(_prompts())


@prompts_app.command("show")
def prompts_show(
    name: str,
    values: Annotated[list[str] | None, typer.Option("--with", help="variable=value; may be given again.")] = None,
) -> None:
    """Render a prompt as the model would see it; variables without a value stay as they are written."""
    from sluice.prompts import find_prompt, parse_values

    prompt = find_prompt(Workspace.find().prompts, name)
    for message in prompt.preview(**parse_values(prompt, values or [])):
        print(f"[{message['role']}]\n{message['content']}\n")


@prompts_app.command("diff")
def prompts_diff(
    base: Annotated[str, typer.Argument(help="Branch, tag or commit to compare the working tree with.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """What the prompts of the working tree change against BASE: wording, parameters, variables, digests."""
    from sluice.prompts.history import changes_since
    from sluice.prompts.terminal import print_changes

    workspace = Workspace.find()
    changes, edited = changes_since(workspace.root, base, _prompts())
    if as_json:
        _print_json({"base": base, "prompts": [change.as_dict() for change in changes]})
    else:
        print_changes(changes, base=base, edited=edited)


@prompts_app.command("test")
def prompts_test(
    names: Annotated[list[str] | None, typer.Argument(help="Prompts to try; default: all of them.")] = None,
    cases: Annotated[
        Path | None, typer.Option(help="JSON lines of {id, vars, expect}, in place of each prompt's testData.")
    ] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Ask nobody: recorded responses only.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for cases.jsonl and summary.json.")] = None,
) -> None:
    """Try prompts against the provider of their role. What was asked before is not asked again."""
    from sluice.evaluation.prompt_report import print_tests
    from sluice.evaluation.prompt_tests import run_tests, write_tests

    tested = run_tests(Workspace.find(), names or [], lines=cases, replay=replay)
    if out:
        write_tests(tested, out)
    print_tests(tested)
    if tested.passed < len(tested.records):
        raise SluiceError(f"{len(tested.records) - tested.passed} of {len(tested.records)} cases did not pass")


@judge_app.command("calibrate")
def judge_calibrate(
    cases: Annotated[Path | None, typer.Option(help="Labelled answers (.jsonl); default: those of Sluice.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write what is printed.")] = None,
) -> None:
    """Let the judge grade answers that people have graded: agreement, Cohen's kappa, and where they differ.

    Fails when the judge agrees less than config/gates.yaml asks for."""
    from sluice.app.bundle import draft_bundle
    from sluice.core.files import write_json
    from sluice.evaluation.calibration import CASES, calibrate_bundle, load_calibration
    from sluice.release.gates import Figure, decide, load_gates, require

    workspace = Workspace.find()
    gates = load_gates(workspace.config / "gates.yaml")
    labelled = load_calibration(cases or CASES)
    found = calibrate_bundle(draft_bundle(workspace, adapter=None), labelled)
    summary = found.as_dict()
    if out:
        write_json(out, summary)
    _print_json(summary)
    differ = tuple(one.case.id for one in found.disagreements)
    kappa = Figure(found.agreement.kappa, found.agreement.cases, len(found.errors), (*found.errors, *differ))
    require(decide(gates, "calibration", {"judge_kappa": kappa}, None))


@models_app.command("pull")
def models_pull() -> None:
    """Fetch every model of config/models.yaml into the cache and check its sha256."""
    from sluice.llm.models import ensure, load_models

    workspace = Workspace.find()
    for role, spec in load_models(workspace.config / "models.yaml"):
        print(f"{role}: {spec.name} ({spec.licence}) {ensure(spec, workspace.cache)}")


@traces_app.command("push")
def traces_push() -> None:
    """Load what the service has written to .sluice/traces/ into the MLflow store of this machine."""
    from dataclasses import asdict

    from sluice.app.telemetry.push import push
    from sluice.app.telemetry.settings import TelemetrySettings
    from sluice.core.settings import load_settings
    from sluice.core.tracking import tracking_uri

    workspace = Workspace.find()
    settings = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings).traces.mlflow
    folder, artifacts = workspace.state / "traces", workspace.state / "mlartifacts"
    pushed = push(folder, tracking_uri(workspace), experiment=settings.experiment, artifacts=artifacts)
    _print_json(asdict(pushed))


@keys_app.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Whose key it is: a-z, 0-9, '.', '_' and '-'.")],
    tenant: Annotated[str, typer.Option(help="Whose documents it may use beside those for everybody.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="chat, feedback or metrics; may be given again. Default: chat and feedback."),
    ] = None,
    rate: Annotated[int, typer.Option(help="Requests a minute.")] = 60,
) -> None:
    """Make an API key and print it. It is shown this once; the file keeps only its hash."""
    from sluice.app.keys import add_key, keys_path

    path = keys_path(Workspace.find().state)
    print(add_key(path, name, tenant=tenant or None, scopes=scope or ["chat", "feedback"], rate=rate))
    print(f"{path} holds its hash; a running service takes it within a second", file=sys.stderr)


@keys_app.command("list")
def keys_list() -> None:
    """The keys and what they may do; no secrets."""
    from sluice.app.keys import keys_path, read_keys

    for key in read_keys(keys_path(Workspace.find().state)).keys:
        state = f"revoked {key.revoked}" if key.revoked else "in force"
        tenant = key.tenant or "-"
        print(f"{key.name:<20} {key.id}  {tenant:<16} {','.join(key.scopes):<22} {key.rate:>6}/min  {state}")


@keys_app.command("revoke")
def keys_revoke(name: Annotated[str, typer.Argument(help="Name of the key.")]) -> None:
    """End an API key. A running service refuses it within a second."""
    from sluice.app.keys import keys_path, revoke_key

    revoke_key(keys_path(Workspace.find().state), name)
    print(f"{name} is revoked")


def _prompts() -> dict[str, Prompt]:
    from sluice.llm.settings import PROMPT_ROLES
    from sluice.prompts import load_prompts

    return load_prompts(Workspace.find().prompts, roles=PROMPT_ROLES)


def _release(workspace: Workspace, release: str) -> tuple[Any, Path]:
    """A release's manifest and folder; without an id, the champion's."""
    from sluice.release import champion
    from sluice.release.manifest import load

    chosen = release or champion.champion_id(workspace)
    if not chosen:
        raise SluiceError("there is no champion yet", remedy="run `make release` first")
    folder = workspace.releases / chosen
    if not folder.is_dir():
        raise SluiceError(f"{folder}: no such release", remedy="`sluice release list` names those of this machine")
    return load(folder), folder


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def main() -> int:
    """Runs the command line. Exit codes: 0 done, 1 an error to mend or a canary that was stopped,
    3 refused by an evaluation gate, 130 interrupted."""
    die_with_parent()
    watch_parent()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = app(standalone_mode=False)
    except SluiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        import click

        if isinstance(error, click.ClickException):
            error.show()
            return error.exit_code
        raise
    if status == INTERRUPTED:  # typer turns Ctrl-C into this value and returns it
        print("interrupted; the next run picks up where this one stopped", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
