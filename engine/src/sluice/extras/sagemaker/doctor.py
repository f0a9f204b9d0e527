"""Checks that the role, bucket, image and quotas of config/sagemaker.yaml exist in the account."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sluice.extras.doctor.aws import service_role
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope, passed
from sluice.extras.sagemaker.settings import SageMakerSettings, read

_FILE = "config/sagemaker.yaml"
_ECR = re.compile(
    r"(?P<registry>\d{12})\.dkr\.ecr\.[\w-]+\.amazonaws\.com[\w.]*/(?P<name>[\w./-]+?)(?:@(?P<digest>.+)|:(?P<tag>.+))"
)
Client = Callable[[str], Any]


def account_checks(place: DiagnosisScope, client: Client, stack: str) -> Iterator[tuple[str, Callable[[], Diagnosis]]]:
    """Yield what `sluice doctor aws` checks beside its own."""
    role = f"{place.names.name}-sagemaker"
    yield f"role {role}", lambda: service_role(client("iam"), role, "sagemaker.amazonaws.com", stack)
    yield from checks(place, client)


def variables() -> dict[str, str]:
    """Return the optional variables of the workflows, and what each is for."""
    return {
        "SLUICE_TRAIN_ON": "`sagemaker`: release.yml trains there (engine/docs/reference/sagemaker.md)",
        "SLUICE_SERVE_ON": "`sagemaker`: a promotion deploys to the endpoint (engine/docs/reference/sagemaker.md)",
    }


def checks(place: DiagnosisScope, client: Client) -> Iterator[tuple[str, Callable[[], Diagnosis]]]:
    """Yield the checks of config/sagemaker.yaml: none without the file, one if it isn't filled in."""
    settings = read(place.root / "config")
    if settings is None:
        return
    if missing := settings.missing():
        found = f"not set up: {', '.join(missing)}"
        fix = f"fill in {_FILE} (engine/docs/reference/sagemaker.md)"
        yield "SageMaker", lambda: Diagnosis("SageMaker", "optional", found, fix)
        return
    yield "SageMaker: region", lambda: _region(place, settings)
    yield "SageMaker: names", lambda: _names(place.names.name, settings)
    yield "SageMaker: role", lambda: _role(client("iam"), settings)
    yield "SageMaker: bucket", lambda: _bucket(client("s3"), settings)
    account = settings.role.split(":")[4]
    for key, name in (("image", settings.image), ("serving_image", settings.serving_image)):
        if image := _ECR.fullmatch(name):
            yield f"SageMaker: {key}", partial(_image, client, f"SageMaker: {key}", image, account)
    jobs = settings.jobs
    spot = "spot training" if jobs.train.spot else "training"
    usages = {f"{jobs.train.instance_type} for {spot} job usage": jobs.train.instances}
    usages |= {f"{job.instance_type} for processing job usage": 1 for job in (jobs.process, jobs.evaluate)}
    if endpoint := settings.endpoint:
        # A blue/green deployment has the old machines and the new ones; components change in place.
        usages[f"{endpoint.instance_type} for endpoint usage"] = endpoint.sizes[1] * (1 if endpoint.components else 2)
        yield "budget", partial(_budget, client, account, f"{endpoint.name}-sagemaker")
    for usage, wanted in usages.items():  # AWS's name, and how many machines a run takes at a time
        yield f"quota {usage}", partial(_quota, client, usage, wanted)


def _region(place: DiagnosisScope, settings: SageMakerSettings) -> Diagnosis:
    if settings.region != place.names.region:
        found = f"{_FILE} says {settings.region}, the repository {place.names.region}"
        return Diagnosis("SageMaker: region", "missing", found, f"set region: {place.names.region} in {_FILE}")
    return passed("SageMaker: region", settings.region)


def _names(project: str, settings: SageMakerSettings) -> Diagnosis:
    """Require what the roles of engine/aws/bootstrap.yaml are limited to."""
    kept = [(name, f"{project}-") for name in (settings.pipeline, settings.model_package_group)]
    kept += [(settings.endpoint.name, project)] if settings.endpoint else []
    kept += [(secret, f"{project}/training/") for secret in settings.secrets.values()]
    if wrong := {name: start for name, start in kept if not name.startswith(start)}:
        found = f"the roles of {project} may not use {', '.join(wrong)}"
        fix = f"in {_FILE}, write " + ", ".join(f"{start}… for {name}" for name, start in wrong.items())
        return Diagnosis("SageMaker: names", "missing", found, fix)
    return passed("SageMaker: names", ", ".join(name for name, _ in kept))


def _role(iam: Any, settings: SageMakerSettings) -> Diagnosis:
    there = iam.get_role(RoleName=settings.role.rpartition("/")[2])["Role"]["Arn"]
    if there != settings.role:
        return Diagnosis("SageMaker: role", "missing", f"the account has {there}", f"set role: {there} in {_FILE}")
    return passed("SageMaker: role", there)


def _bucket(s3: Any, settings: SageMakerSettings) -> Diagnosis:
    s3.head_bucket(Bucket=settings.bucket)
    return passed("SageMaker: bucket", settings.uri())


def _image(client: Client, what: str, image: re.Match[str], account: str) -> Diagnosis:
    if image["registry"] != account:  # AWS's own, which may be pulled but not described
        return passed(what, f"{image[0]}, of another account")
    ecr = client("ecr")
    wanted = {"imageDigest": image["digest"]} if image["digest"] else {"imageTag": image["tag"]}
    try:
        ecr.describe_images(registryId=image["registry"], repositoryName=image["name"], imageIds=[wanted])
    except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
        return Diagnosis(what, "missing", f"no {image[0]}", "build and push it, or name another one")
    return passed(what, image[0])


def _budget(client: Client, account: str, name: str) -> Diagnosis:
    pages = client("budgets").get_paginator("describe_budgets").paginate(AccountId=account)
    if found := next((one for page in pages for one in page.get("Budgets", ()) if one["BudgetName"] == name), None):
        return passed("budget", f"{found['BudgetLimit']['Amount']} {found['BudgetLimit']['Unit']} a month")
    return Diagnosis("budget", "optional", f"no {name}", "MonthlyUsd and Mail of engine/aws/endpoint.yaml make one")


def _quota(client: Client, usage: str, wanted: int) -> Diagnosis:
    quotas = client("service-quotas")
    lists = ("list_service_quotas", "list_aws_default_service_quotas")  # the first may leave out what nobody raised
    pages = (page for one in lists for page in quotas.get_paginator(one).paginate(ServiceCode="sagemaker"))
    found = next((one for page in pages for one in page["Quotas"] if one["QuotaName"] == usage), None)
    value = int(found["Value"]) if found else 0
    if value < wanted:
        code = found["QuotaCode"] if found else "CODE"
        fix = f"--service-code sagemaker --quota-code {code} --desired-value {wanted}"
        fix = f"aws service-quotas request-service-quota-increase {fix}"
        return Diagnosis(f"quota {usage}", "missing", f"{value}, and a run takes {wanted}", fix)
    return passed(f"quota {usage}", str(value))
