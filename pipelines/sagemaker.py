"""The stages of dvc.yaml as a pipeline of SageMaker: process -> train -> evaluate -> gates -> register.

`.venv/sagemaker/bin/python -P pipelines/sagemaker.py [--upsert]` shows the definition, or makes the pipeline what it
says and prints its ARN. `sluice train --on sagemaker` runs it, in an environment of its own, because the SDK cannot be
installed beside the rest (engine/docs/decisions/sagemaker-sdk.md). -P, because this file has the name of the SDK.

Each job runs pipelines/container/job.py, which runs the command of the stage. What a run works on are its parameters;
so the definition changes only with this file, the job's script and config/sagemaker.yaml.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.extras.sagemaker.aws_clients import asking
from sluice.extras.sagemaker.settings import JobSettings, SageMakerSettings, require

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


def prepare_sdk(region: str) -> None:
    """Before its first import: quiet, no telemetry, a region, and no right to simulate policies asked for."""
    os.environ.setdefault("SAGEMAKER_USER_CONFIG_OVERRIDE", str(HERE / "sagemaker-sdk.yaml"))
    os.environ.setdefault("AWS_DEFAULT_REGION", region)
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # that a PipelineSession starts nothing is what it is for


@dataclass(frozen=True)
class Builder:
    """`session`: a PipelineSession; `given`: the parameters of a run, by name."""

    settings: SageMakerSettings
    session: Any
    given: dict[str, Any]

    def pipeline(self) -> Any:
        from sagemaker.core.workflow.properties import PropertyFile
        from sagemaker.mlops.workflow.pipeline import Pipeline

        verdict = PropertyFile(name="Gates", output_name="gates", path="gates.json")
        process = self.process()
        train = self.train(process)
        evaluate = self.evaluate(process, train, verdict)
        gate = self.gate(evaluate, verdict, self.register(train))
        return Pipeline(
            name=self.settings.pipeline,
            parameters=list(self.given.values()),
            steps=[process, train, evaluate, gate],
            pipeline_experiment_config=None,  # experiments are MLflow's, and would need further rights
            sagemaker_session=self.session,
        )

    def process(self) -> Any:
        """Stages check, index and guard."""
        inputs = {name.lower(): self.given[name] for name in ("Checkout", "Data")}
        return self._processing("Process", self.settings.jobs.process, inputs, ["check", "index", "guard"])

    def train(self, process: Any) -> Any:
        """Stage train, by torchrun, on spot machines where the settings say so; checkpoints by recipe."""
        from sagemaker.core.workflow.functions import Join
        from sagemaker.mlops.workflow.steps import TrainingStep
        from sagemaker.train import ModelTrainer, configs
        from sagemaker.train.distributed import Torchrun

        class SignalledStep(TrainingStep):  # type: ignore[misc]
            """Hands the signal on that a machine is taken away."""

            @property
            def arguments(self) -> Any:
                found = super().arguments
                shell, command = found["AlgorithmSpecification"]["ContainerArguments"]
                if not command.startswith("trap"):  # asked for twice, it is made once
                    command = HANDS_ON.format(script=command.split()[-1])
                found["AlgorithmSpecification"]["ContainerArguments"] = [shell, command]
                return found

        job, key = self.settings.jobs.train, self.settings.kms_key
        waits = {"max_wait_time_in_seconds": job.max_wait_minutes * 60} if job.spot else {}
        trainer = ModelTrainer(
            training_image=self.settings.image,
            role=self.settings.role,
            sagemaker_session=self.session,
            base_job_name=f"{self.settings.pipeline}-train",
            source_code=configs.SourceCode(source_dir=str(SCRIPT.parent), entry_script=SCRIPT.name),
            hyperparameters={"stage": "train"},
            compute=configs.Compute(
                instance_type=job.instance_type,
                instance_count=job.instances,
                volume_size_in_gb=job.volume_gb,
                enable_managed_spot_training=job.spot,
                **({"volume_kms_key_id": key} if key else {}),
            ),
            distributed=Torchrun(process_count_per_node=job.processes or None),
            stopping_condition=configs.StoppingCondition(max_runtime_in_seconds=job.max_minutes * 60, **waits),
            output_data_config=configs.OutputDataConfig(
                s3_output_path=self.settings.uri("models"), **({"kms_key_id": key} if key else {})
            ),
            environment=self.settings.variables,
            **self._network(configs),
            **({"tags": self._tags()} if self.settings.tags else {}),
            checkpoint_config=configs.CheckpointConfig(
                s3_uri=Join(on="/", values=[self.settings.uri("checkpoints"), self.given["Recipe"]]),
                local_path="/opt/ml/checkpoints",
            ),
        )
        channels = {**{n.lower(): self.given[n] for n in ("Checkout", "Data")}, "index": _output(process, "index")}
        args = trainer.train(
            input_data_config=[configs.InputData(channel_name=name, data_source=uri) for name, uri in channels.items()]
        )
        return SignalledStep(name="Train", step_args=args, retry_policies=_retries())

    def _network(self, configs: Any) -> dict[str, Any]:
        vpc = self.settings.vpc
        if not vpc:
            return {}
        where = configs.Networking(subnets=vpc["Subnets"], security_group_ids=vpc["SecurityGroupIds"])
        return {"networking": where}

    def _tags(self) -> list[Any]:
        from sagemaker.core.shapes import Tag

        return [Tag(key=key, value=value) for key, value in self.settings.tags.items()]

    def evaluate(self, process: Any, train: Any, verdict: Any) -> Any:
        """Stage evaluate, of the candidate and of what is live, and the gates."""
        inputs = {name.lower(): self.given[name] for name in ("Checkout", "Data", "Live")}
        inputs |= {
            "index": _output(process, "index"),
            "guard": _output(process, "guard"),
            "model": train.properties.ModelArtifacts.S3ModelArtifacts,
        }
        return self._processing("Evaluate", self.settings.jobs.evaluate, inputs, ["evaluation", "gates"], [verdict])

    def register(self, train: Any) -> Any:
        """A package of the adapter, which waits for its approval: that follows the champion of MLflow."""
        from sagemaker.mlops.workflow.model_step import ModelStep
        from sagemaker.serve import ModelBuilder

        model = ModelBuilder(
            s3_model_data_url=train.properties.ModelArtifacts.S3ModelArtifacts,
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
        return ModelStep(name="Register", step_args=args)

    def gate(self, evaluate: Any, verdict: Any, register: Any) -> Any:
        """The gates have decided in the job before (config/gates.yaml); the pipeline only follows their word."""
        from sagemaker.core.workflow.conditions import ConditionEquals
        from sagemaker.core.workflow.functions import Join, JsonGet
        from sagemaker.mlops.workflow.condition_step import ConditionStep
        from sagemaker.mlops.workflow.fail_step import FailStep

        def said(path: str) -> Any:
            return JsonGet(step_name=evaluate.name, property_file=verdict, json_path=path)

        refused = FailStep(name="Refused", error_message=Join(on=" ", values=["refused by", said("refused_by")]))
        passed = ConditionEquals(left=said("passed"), right=True)
        return ConditionStep(name="Gates", conditions=[passed], if_steps=[register], else_steps=[refused])

    def _processing(
        self, name: str, job: JobSettings, inputs: dict[str, Any], outputs: list[str], files: list[Any] | None = None
    ) -> Any:
        from sagemaker.core.network import NetworkConfig
        from sagemaker.core.processing import ScriptProcessor
        from sagemaker.core.shapes import (
            ProcessingInput,
            ProcessingOutput,
            ProcessingS3Input,
            ProcessingS3Output,
        )
        from sagemaker.core.workflow.execution_variables import ExecutionVariables
        from sagemaker.core.workflow.functions import Join
        from sagemaker.mlops.workflow.steps import ProcessingStep

        def given(channel: str, uri: Any) -> Any:
            s3 = ProcessingS3Input(
                s3_uri=uri,
                local_path=f"{PROCESSING}/input/{channel}",
                s3_data_type="S3Prefix",
                s3_input_mode="File",
            )
            return ProcessingInput(input_name=channel, s3_input=s3)

        def made(channel: str) -> Any:
            place = [self.settings.uri("runs"), ExecutionVariables.PIPELINE_EXECUTION_ID, channel]
            s3 = ProcessingS3Output(
                s3_uri=Join(on="/", values=place),
                local_path=f"{PROCESSING}/output/{channel}",
                s3_upload_mode="EndOfJob",
            )
            return ProcessingOutput(output_name=channel, s3_output=s3)

        processor = ScriptProcessor(
            role=self.settings.role,
            image_uri=self.settings.image,
            command=["python3"],
            instance_count=1,
            instance_type=job.instance_type,
            volume_size_in_gb=job.volume_gb,
            max_runtime_in_seconds=job.max_minutes * 60,
            sagemaker_session=self.session,
            base_job_name=f"{self.settings.pipeline}-{name.lower()}",
            env=self.settings.variables,
            tags=self.settings.aws_tags or None,
            volume_kms_key=self.settings.kms_key or None,
            output_kms_key=self.settings.kms_key or None,
            network_config=NetworkConfig(subnets=vpc["Subnets"], security_group_ids=vpc["SecurityGroupIds"])
            if (vpc := self.settings.vpc)
            else None,
        )
        args = processor.run(
            code=str(SCRIPT),
            inputs=[given(channel, uri) for channel, uri in inputs.items()],
            outputs=[made(channel) for channel in outputs],
            arguments=["--stage", name.lower()],
        )
        return ProcessingStep(name=name, step_args=args, property_files=files or [], retry_policies=_retries())


def _retries() -> list[Any]:
    """What is AWS's own fault, or passes: no machine to spare, a fault inside, calls that came too fast."""
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


def _output(step: Any, name: str) -> Any:
    return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri


def build(settings: SageMakerSettings) -> Any:
    """The pipeline as an object of the SDK. It uploads the job's script, so it needs the bucket."""
    prepare_sdk(settings.region)
    import boto3
    from sagemaker.core.workflow.parameters import ParameterString
    from sagemaker.core.workflow.pipeline_context import PipelineSession

    session = PipelineSession(
        boto_session=boto3.Session(region_name=settings.region),
        default_bucket=settings.bucket,
        default_bucket_prefix=settings.prefix,
    )
    return Builder(settings, session, {name: ParameterString(name=name) for name in PARAMETERS}).pipeline()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE.parent / "config", help="folder of sagemaker.yaml")
    parser.add_argument("--upsert", action="store_true", help="make or update the pipeline, print its ARN")
    asked = parser.parse_args(argv)
    try:
        settings = require(asked.config)
        with asking(f"pipeline {settings.pipeline}"):
            pipeline = build(settings)
            print(pipeline.upsert(role_arn=settings.role)["PipelineArn"] if asked.upsert else pipeline.definition())
    except SluiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
