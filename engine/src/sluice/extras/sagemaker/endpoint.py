"""Deployment of the package that was approved last to a SageMaker endpoint, which itself is the record of what serves.

Without components it is a blue/green deployment with a canary, which the named alarms turn back. With components each
package is an adapter beside those before it, on one base model; a release asks for its own (`component` of its
provider). Names contain a digest of what they name, so a changed machine, size or variable is deployed like a package.
"""

from __future__ import annotations

import time
from typing import Any

from botocore import xform_name

from sluice.core.digests import digest_of
from sluice.core.errors import CanaryStopped, SluiceError
from sluice.extras.sagemaker.aws_clients import Say, asking, client, look_up
from sluice.extras.sagemaker.results import newest_approved, send_peft
from sluice.extras.sagemaker.settings import EndpointComponents, EndpointSettings, SageMakerSettings

VARIANT = "live"
# "DeleteEndpoint is the only operation that can be performed on a failed endpoint": EndpointStatus in AWS's model.
FAILED = ("Failed", "OutOfService")


def deploy(settings: SageMakerSettings, say: Say, *, context: int = 0) -> str:
    """Deploy what was approved last, or is approved meanwhile, and return the name of what serves.

    `context`: tokens that vLLM holds for a request, unless its environment says so; its own default fits few cards."""
    if settings.endpoint is None or not settings.serving_image:
        missing = "serving_image" if settings.endpoint else "endpoint"
        remedy = "engine/docs/reference/sagemaker.md has an example"
        raise SluiceError(f"config/sagemaker.yaml: {missing} is not set", remedy=remedy)
    endpoint, group = _Endpoint(settings, settings.endpoint, say, context), settings.model_package_group
    while True:
        package = newest_approved(endpoint.sagemaker, group)
        with asking(endpoint.name):
            served = endpoint.serve(package)
        if newest_approved(endpoint.sagemaker, group)["ModelPackageArn"] == package["ModelPackageArn"]:
            say(f"{endpoint.name}: serves {served}")
            return served
        say(f"{endpoint.name}: another package was approved meanwhile")


class _Endpoint:
    def __init__(self, settings: SageMakerSettings, wanted: EndpointSettings, say: Say, context: int) -> None:
        self.settings, self.wanted, self.name, self.say = settings, wanted, wanted.name, say
        variables = wanted.components.environment if wanted.components else wanted.environment
        limited = context and any(name.startswith("SM_VLLM_") for name in variables)
        self.environment = ({"SM_VLLM_MAX_MODEL_LEN": str(context)} if limited else {}) | variables
        self.runs = {"ExecutionRoleArn": settings.role, **_filled(VpcConfig=settings.vpc)}
        services = ("sagemaker", "cloudwatch", "application-autoscaling", "s3")
        self.sagemaker, self.cloudwatch, self.scaling, self.s3 = (client(one, settings.region) for one in services)
        self.tags = _filled(Tags=settings.aws_tags)

    def serve(self, package: dict[str, Any]) -> str:
        """Serve a package; return the name of its configuration or component."""
        self._require_alarms()
        config = self._create_config(package)
        self._move_to(config)
        if self.wanted.components:
            return self._serve_adapter(self.wanted.components, package)
        metric = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
        self._scale(f"endpoint/{self.name}/variant/{VARIANT}", "sagemaker:variant:DesiredInstanceCount", metric)
        return config

    def _require_alarms(self) -> None:
        names, kinds = [*self.wanted.alarms], ["MetricAlarm", "CompositeAlarm"]
        found = self.cloudwatch.describe_alarms(AlarmNames=names, AlarmTypes=kinds)
        listed = {alarm["AlarmName"]: alarm["StateValue"] for kind in kinds for alarm in found.get(f"{kind}s", ())}
        states = dict.fromkeys(names, "missing") | listed
        if wrong := [f"{name} is {state}" for name, state in states.items() if state in ("missing", "ALARM")]:
            raise SluiceError(
                f"config/sagemaker.yaml: endpoint.alarms: {', '.join(wrong)} in CloudWatch",
                remedy="engine/aws/endpoint.yaml makes them; one in ALARM would roll the deployment back at once",
            )

    def _create_config(self, package: dict[str, Any]) -> str:
        """Create the configuration, with its model unless components hold the models; return its name."""
        settings, wanted = self.settings, self.wanted
        variant: dict[str, Any] = {
            "VariantName": VARIANT,
            "InstanceType": wanted.instance_type,
            "InitialInstanceCount": wanted.instances,
            "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
            **wanted.startup,
            **_filled(VolumeSizeInGB=wanted.volume_gb, InferenceAmiVersion=settings.endpoint_ami),
        }
        key = settings.volume_key(wanted.instance_type)
        config = {"ProductionVariants": [variant], **_filled(KmsKeyId=key), **self.tags}
        if wanted.components:
            least, most = wanted.sizes
            variant["InitialInstanceCount"] = max(1, least)
            bounds = {"MinInstanceCount": least, "MaxInstanceCount": most}
            variant["ManagedInstanceScaling"] = {"Status": "ENABLED", **bounds}
            config |= self.runs
            name = f"{self.name}-{digest_of(config):.8}"
        else:
            (registered,) = package["InferenceSpecification"]["Containers"]
            container: dict[str, Any] = {"ModelPackageName": package["ModelPackageArn"]}
            if registered["Image"] != settings.serving_image:  # registered before that was named, or with another
                container = {"Image": settings.serving_image, "ModelDataUrl": registered["ModelDataUrl"]}
            model = {"PrimaryContainer": container | {"Environment": self.environment}, **self.runs, **self.tags}
            name = f"{self.name}-{package['ModelPackageVersion']}-{digest_of([config, model]):.8}"
            variant["ModelName"] = name
            self._create("Model", name, **model)
        self._create("EndpointConfig", name, **config)
        return name

    def _move_to(self, config: str) -> None:
        """Create or update the endpoint, and wait until the configuration serves."""
        pending = self._describe("Endpoint", self.name).get("PendingDeploymentSummary", {})
        # Another run may have begun this deployment: its canary is the verdict, and isn't tried twice.
        if pending.get("EndpointConfigName") != config:
            live = self._settled("Endpoint", self.name, retry=True)
            if live.get("EndpointConfigName") != config:
                verb, options = ("Update", self.wanted.update_options) if live else ("Create", self.tags)
                self._do(verb, "Endpoint", self.name, EndpointConfigName=config, **options)
                self.say(f"{self.name}: {config} is on its way")
        live = self._settled("Endpoint", self.name)
        if live["EndpointConfigName"] != config:
            raise CanaryStopped(
                f"{self.name}: {config} was taken back: {live.get('FailureReason') or 'an alarm rang'}",
                remedy=f"{live['EndpointConfigName']} is live; the alarms of config/sagemaker.yaml say more",
            )

    def _serve_adapter(self, components: EndpointComponents, package: dict[str, Any]) -> str:
        """Serve the adapter of a package beside those before it; the oldest ones above `keep` are deleted."""
        artifact = send_peft(self.s3, self.settings, package)
        container: dict[str, Any] = {"Image": self.settings.serving_image, "Environment": self.environment}
        if components.base:  # a component's own container would take an archive alone
            weights = {"S3Uri": components.base, "S3DataType": "S3Prefix", "CompressionType": "None"}
            container["ModelDataSource"] = {"S3DataSource": weights}
        runs = {"PrimaryContainer": container, **self.runs, **self.tags}
        name = f"{self.name}-base-{digest_of(runs):.8}"
        self._create("Model", name, **runs)
        devices, memory = "NumberOfAcceleratorDevicesRequired", "MinMemoryRequiredInMb"
        needs = {devices: components.accelerators, memory: components.memory_mb}
        model = {"ModelName": name, "StartupParameters": self.wanted.startup, "ComputeResourceRequirements": needs}
        base = f"{self.name}-base-{digest_of(model):.8}"
        copies = {"VariantName": VARIANT, "RuntimeConfig": {"CopyCount": max(1, self.wanted.sizes[0])}}
        common = {"EndpointName": self.name, **self.tags}
        self._create("InferenceComponent", base, Specification=model, **copies, **common)
        metric = "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"
        self._scale(f"inference-component/{base}", "sagemaker:inference-component:DesiredCopyCount", metric)
        adapter = f"{self.name}-{package['ModelPackageVersion']}-{digest_of([base, artifact]):.8}"
        specification = {"BaseInferenceComponentName": base, "Container": {"ArtifactUrl": artifact}}
        self._create("InferenceComponent", adapter, Specification=specification, **common)
        self._prune(components.keep, adapter)
        return adapter

    def _prune(self, keep: int, served: str) -> None:
        """Delete the oldest adapters above `keep`, and then the bases that have none left."""
        pages = self.sagemaker.get_paginator("list_inference_components").paginate(
            EndpointNameEquals=self.name, SortBy="CreationTime", SortOrder="Descending"
        )
        bases = {}
        for name in pages.search("InferenceComponents[].InferenceComponentName"):
            specification = self._describe("InferenceComponent", name).get("Specification", {})
            bases[name] = specification.get("BaseInferenceComponentName", "")
        adapters = [name for name, base in bases.items() if base and name != served]
        kept = {served, *adapters[: keep - 1]}
        needed = kept | {bases[name] for name in kept}
        # Adapters go first: a base can't be deleted while one of it is there.
        for name in sorted(bases.keys() - needed, key=lambda name: not bases[name]):
            self.say(f"{name}: deleted, {keep} are kept")
            self._do("Delete", "InferenceComponent", name)
            self._settled("InferenceComponent", name, retry=True)

    def _scale(self, resource: str, dimension: str, metric: str) -> None:
        """Scale machines, or copies of a base, by the requests under way; without `scaling`, delete the policies."""
        scaling, name = self.wanted.scaling, resource.split("/")[1]
        target = {"ServiceNamespace": "sagemaker", "ResourceId": resource, "ScalableDimension": dimension}
        if scaling is None:
            for one in ("requests", "wake-up"):
                look_up(self.scaling.delete_scaling_policy, **target, PolicyName=f"{name}-{one}")
            return
        self.scaling.register_scalable_target(**target, MinCapacity=scaling.least, MaxCapacity=scaling.most)
        tracking = {
            "TargetValue": scaling.requests,
            "PredefinedMetricSpecification": {"PredefinedMetricType": metric},
            "ScaleOutCooldown": 60,
            "ScaleInCooldown": scaling.idle_seconds,
        }
        policy = {**target, "PolicyName": f"{name}-requests", "PolicyType": "TargetTrackingScaling"}
        self.scaling.put_scaling_policy(**policy, TargetTrackingScalingPolicyConfiguration=tracking)
        if scaling.least == 0:  # with no copy left nothing measures requests, so the first one starts a copy
            self._wake_up(target, name)

    def _wake_up(self, target: dict[str, str], base: str) -> None:
        step: dict[str, Any] = {"AdjustmentType": "ChangeInCapacity", "MetricAggregationType": "Maximum"}
        step |= {"Cooldown": 60, "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]}
        policy = {**target, "PolicyName": f"{base}-wake-up", "PolicyType": "StepScaling"}
        arn = self.scaling.put_scaling_policy(**policy, StepScalingPolicyConfiguration=step)["PolicyARN"]
        self.cloudwatch.put_metric_alarm(
            AlarmName=f"{base}-wake-up",
            AlarmActions=[arn],
            Namespace="AWS/SageMaker",
            MetricName="NoCapacityInvocationFailures",
            Dimensions=[{"Name": "InferenceComponentName", "Value": base}],
            Statistic="Maximum",
            Period=30,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
        )

    def _create(self, kind: str, name: str, **request: Any) -> None:
        """Create what isn't there or had failed, and wait until it serves."""
        if not self._settled(kind, name, retry=True):
            self._do("Create", kind, name, **request)
        self._settled(kind, name)

    def _do(self, verb: str, kind: str, name: str, **request: Any) -> None:
        getattr(self.sagemaker, xform_name(f"{verb}{kind}"))(**{f"{kind}Name": name}, **request)

    def _describe(self, kind: str, name: str) -> dict[str, Any]:
        return look_up(getattr(self.sagemaker, xform_name(f"Describe{kind}")), **{f"{kind}Name": name}) or {}

    def _settled(self, kind: str, name: str, *, retry: bool = False) -> dict[str, Any]:
        """Wait until a change is done and return what serves. With `retry`, what failed is deleted, not an error."""
        said = ""
        while found := self._describe(kind, name):
            status = found.get(f"{kind}Status", "InService")
            problem = f"{name}: {status.lower()}: {found.get('FailureReason', 'no reason given')}"
            if status == "InService":
                return found
            if status == "UpdateRollbackFailed":
                guide = "look at it in the console: AWS's guide on rolling deployments says how it is repaired"
                raise SluiceError(f"{name}: {status}: old and new machines serve side by side", remedy=guide)
            if status in FAILED and not retry:
                remedy = f"the logs in /aws/sagemaker/{kind}s/{name} say more; the same command creates it again"
                raise SluiceError(problem, remedy=remedy)
            if status != said and status in FAILED:
                self.say(f"{problem}; it is deleted")
                self._do("Delete", kind, name)
            elif status != said:
                self.say(f"{name}: {status.lower()}")
            said = status
            time.sleep(self.settings.poll_seconds)
        if not retry:
            raise SluiceError(f"{name}: was deleted", remedy="run the same command to create it again")
        return found


def _filled(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
