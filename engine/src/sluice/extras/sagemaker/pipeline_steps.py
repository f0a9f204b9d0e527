"""The steps of SageMaker's pipeline for pipelines/sagemaker.py, and the command that shows or upserts it.

It runs in the environment of the SDK (engine/docs/decisions/sagemaker-sdk.md), where boto3 and pydantic are.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.sagemaker.aws_clients import asking
from sluice.extras.sagemaker.pipeline_runs import REFUSED
from sluice.extras.sagemaker.settings import JobSettings, SageMakerSettings, TrainJob, require

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "container" / "job.py"
PROCESSING = "/opt/ml/processing"
# What a run is given: source archives, and the recipe that they follow from.
PARAMETERS = ("Checkout", "Data", "Live", "Recipe")
# The SDK's first process is a shell that waits for a script, and neither hands on the signal with which SageMaker takes
# a machine away. job.py leaves the numbers of its processes; kill is bash's own, for slim images have no other.
HANDS_ON = (
    "trap 'kill -TERM $(cat /opt/ml/signals/*.pid 2>/dev/null) 2>/dev/null' TERM; bash {script} & child=$!;"
    " while true; do wait $child; status=$?; kill -0 $child 2>/dev/null || exit $status; done"
)


class PipelineSteps:
    """Steps with the machines, network, key and tags of config/sagemaker.yaml.

    `session`: a PipelineSession of the SDK; `given`: the parameters of a run, by name.
    """

    def __init__(self, settings: SageMakerSettings, session: Any, given: Mapping[str, Any]) -> None:
        self.settings = settings
        self.session = session
        self.given = given

    @cached_property
    def verdict(self) -> Any:
        """gates.json in the output `gates`."""
        from sagemaker.core.workflow.properties import PropertyFile

        return PropertyFile(name="Gates", output_name="gates", path="gates.json")

    def processing(
        self,
        name: str,
        job: JobSettings,
        *,
        inputs: Mapping[str, Any],
        outputs: Sequence[str],
        files: Sequence[Any] = (),
    ) -> Any:
        """Return a processing job. `inputs`: S3 addresses by channel; `outputs`: folders that are kept for each run;
        `files`: those of the outputs that conditions read."""
        from sagemaker.core.network import NetworkConfig
        from sagemaker.core.processing import ScriptProcessor
        from sagemaker.mlops.workflow.steps import ProcessingStep

        settings = self.settings
        vpc = settings.vpc
        processor = ScriptProcessor(
            role=settings.role,
            image_uri=settings.image,
            command=["python3"],
            instance_count=1,
            instance_type=job.instance_type,
            volume_size_in_gb=job.volume_gb,
            max_runtime_in_seconds=job.max_minutes * 60,
            sagemaker_session=self.session,
            base_job_name=f"{settings.pipeline}-{name.lower()}",
            env=settings.variables,
            tags=settings.aws_tags or None,
            volume_kms_key=settings.volume_key(job.instance_type) or None,
            output_kms_key=settings.kms_key or None,
            network_config=NetworkConfig(subnets=vpc["Subnets"], security_group_ids=vpc["SecurityGroupIds"])
            if vpc
            else None,
        )
        args = processor.run(
            code=str(SCRIPT),
            inputs=[_processing_input(channel, uri) for channel, uri in inputs.items()],
            outputs=[_processing_output(channel, settings.uri("runs")) for channel in outputs],
            arguments=["--stage", name.lower()],
        )
        return ProcessingStep(name=name, step_args=args, property_files=[*files], retry_policies=_retries())

    def training(self, name: str, job: TrainJob, *, inputs: Mapping[str, Any]) -> Any:
        """Return a training job by torchrun, on spot machines where the settings say so; checkpoints by recipe."""
        from sagemaker.core.shapes import Tag
        from sagemaker.core.workflow.functions import Join
        from sagemaker.train import ModelTrainer, configs
        from sagemaker.train.distributed import Torchrun

        settings, key, vpc = self.settings, self.settings.kms_key, self.settings.vpc
        volume_key = settings.volume_key(job.instance_type)
        waits = {"max_wait_time_in_seconds": job.max_wait_minutes * 60} if job.spot else {}
        more: dict[str, Any] = {}
        if vpc:
            more["networking"] = configs.Networking(subnets=vpc["Subnets"], security_group_ids=vpc["SecurityGroupIds"])
        if settings.tags:
            more["tags"] = [Tag(key=name, value=value) for name, value in settings.tags.items()]
        trainer = ModelTrainer(
            training_image=settings.image,
            role=settings.role,
            sagemaker_session=self.session,
            base_job_name=f"{settings.pipeline}-{name.lower()}",
            source_code=configs.SourceCode(source_dir=str(SCRIPT.parent), entry_script=SCRIPT.name),
            hyperparameters={"stage": name.lower()},
            compute=configs.Compute(
                instance_type=job.instance_type,
                instance_count=job.instances,
                volume_size_in_gb=job.volume_gb,
                enable_managed_spot_training=job.spot,
                **({"volume_kms_key_id": volume_key} if volume_key else {}),
            ),
            distributed=Torchrun(process_count_per_node=job.processes or None),
            stopping_condition=configs.StoppingCondition(max_runtime_in_seconds=job.max_minutes * 60, **waits),
            output_data_config=configs.OutputDataConfig(
                s3_output_path=settings.uri("models"), **({"kms_key_id": key} if key else {})
            ),
            environment=settings.variables,
            checkpoint_config=configs.CheckpointConfig(
                s3_uri=Join(on="/", values=[settings.uri("checkpoints"), self.given["Recipe"]]),
                local_path="/opt/ml/checkpoints",
            ),
            **more,
        )
        args = trainer.train(
            input_data_config=[configs.InputData(channel_name=name, data_source=uri) for name, uri in inputs.items()]
        )
        return _signalled_step(name, args)

    def registration(self, name: str, adapter: Any) -> Any:
        """Return a package of the adapter, which waits for its approval: that follows the champion of MLflow."""
        from sagemaker.mlops.workflow.model_step import ModelStep
        from sagemaker.serve import ModelBuilder

        model = ModelBuilder(
            s3_model_data_url=adapter,
            image_uri=self.settings.serving_image or self.settings.image,
            role_arn=self.settings.role,
            sagemaker_session=self.session,
        )
        args = model.register(
            model_package_group_name=self.settings.model_package_group,
            content_types=["application/json"],
            response_types=["application/json"],
            approval_status="PendingManualApproval",
            customer_metadata_properties={"recipe": self.given["Recipe"]},
        )
        return ModelStep(name=name, step_args=args)

    def gates(self, evaluate: Any, *, passed: Any) -> Any:
        """Return the condition that leads to the step `passed`, or fails. The gates have decided in the job before."""
        from sagemaker.core.workflow.conditions import ConditionEquals
        from sagemaker.core.workflow.functions import Join, JsonGet
        from sagemaker.mlops.workflow.condition_step import ConditionStep
        from sagemaker.mlops.workflow.fail_step import FailStep

        def said(path: str) -> Any:
            return JsonGet(step_name=evaluate.name, property_file=self.verdict, json_path=path)

        refused = FailStep(name=REFUSED, error_message=Join(on=" ", values=["refused by", said("refused_by")]))
        condition = ConditionEquals(left=said("passed"), right=True)
        return ConditionStep(name="Gates", conditions=[condition], if_steps=[passed], else_steps=[refused])


def output_of(step: Any, name: str) -> Any:
    """Return the S3 address of an output of a processing job."""
    return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri


def _signalled_step(name: str, step_args: Any) -> Any:
    from sagemaker.mlops.workflow.steps import TrainingStep

    class SignalledStep(TrainingStep):  # type: ignore[misc]
        @property
        def arguments(self) -> Any:
            found = super().arguments
            shell, command = found["AlgorithmSpecification"]["ContainerArguments"]
            if not command.startswith("trap"):  # asked for twice, it is made once
                command = HANDS_ON.format(script=command.split()[-1])
            found["AlgorithmSpecification"]["ContainerArguments"] = [shell, command]
            return found

    return SignalledStep(name=name, step_args=step_args, retry_policies=_retries())


def _processing_input(channel: str, uri: Any) -> Any:
    from sagemaker.core.shapes import ProcessingInput, ProcessingS3Input

    place = f"{PROCESSING}/input/{channel}"
    s3 = ProcessingS3Input(s3_uri=uri, local_path=place, s3_data_type="S3Prefix", s3_input_mode="File")
    return ProcessingInput(input_name=channel, s3_input=s3)


def _processing_output(channel: str, runs: str) -> Any:
    from sagemaker.core.shapes import ProcessingOutput, ProcessingS3Output
    from sagemaker.core.workflow.execution_variables import ExecutionVariables
    from sagemaker.core.workflow.functions import Join

    uri = Join(on="/", values=[runs, ExecutionVariables.PIPELINE_EXECUTION_ID, channel])
    s3 = ProcessingS3Output(s3_uri=uri, local_path=f"{PROCESSING}/output/{channel}", s3_upload_mode="EndOfJob")
    return ProcessingOutput(output_name=channel, s3_output=s3)


def _retries() -> list[Any]:
    """Return the policies for AWS's own faults and those that pass, such as a lack of machines."""
    from sagemaker.mlops.workflow.retry import (
        SageMakerJobExceptionTypeEnum,
        SageMakerJobStepRetryPolicy,
        StepExceptionTypeEnum,
        StepRetryPolicy,
    )

    passing = [SageMakerJobExceptionTypeEnum.CAPACITY_ERROR, SageMakerJobExceptionTypeEnum.INTERNAL_ERROR]
    calls = [StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING]
    return [
        StepRetryPolicy(exception_types=calls, interval_seconds=10, max_attempts=5),
        SageMakerJobStepRetryPolicy(failure_reason_types=passing, interval_seconds=60, max_attempts=4),
    ]


def _build(settings: SageMakerSettings, make_steps: Callable[[PipelineSteps], list[Any]]) -> Any:
    """Return the SDK's pipeline. It uploads the job's script, so it needs the bucket."""
    # Before the SDK's first import: quiet, no telemetry, a region, and no right to simulate policies asked for.
    os.environ.setdefault("SAGEMAKER_USER_CONFIG_OVERRIDE", str(HERE / "sdk.yaml"))
    os.environ.setdefault("AWS_DEFAULT_REGION", settings.region)
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # that a PipelineSession starts nothing is what it is for
    import boto3
    from sagemaker.core.workflow.parameters import ParameterString
    from sagemaker.core.workflow.pipeline_context import PipelineSession
    from sagemaker.mlops.workflow.pipeline import Pipeline

    session = PipelineSession(
        boto_session=boto3.Session(region_name=settings.region),
        default_bucket=settings.bucket,
        default_bucket_prefix=settings.prefix,
    )
    given = {name: ParameterString(name=name) for name in PARAMETERS}
    return Pipeline(
        name=settings.pipeline,
        parameters=[*given.values()],
        steps=make_steps(PipelineSteps(settings, session, given)),
        pipeline_experiment_config=None,  # experiments are MLflow's, and would need further rights
        sagemaker_session=session,
    )


def main(make_steps: Callable[[PipelineSteps], list[Any]], argv: list[str]) -> int:
    """Show the definition of the pipeline that has these steps, or with --upsert make it; return the exit code."""
    parser = argparse.ArgumentParser(description="The definition of SageMaker's pipeline, by its SDK.")
    parser.add_argument("--config", type=Path, default=Path("config"), help="folder of sagemaker.yaml")
    parser.add_argument("--upsert", action="store_true", help="make or update the pipeline, print its ARN")
    asked = parser.parse_args(argv)
    try:
        settings = require(asked.config)
        with asking(f"pipeline {settings.pipeline}"):
            pipeline = _build(settings, make_steps)
            print(pipeline.upsert(role_arn=settings.role)["PipelineArn"] if asked.upsert else pipeline.definition())
    except SluiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
