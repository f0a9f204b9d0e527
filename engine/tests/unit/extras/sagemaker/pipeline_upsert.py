"""A stand-in for the SDK's Python, which makes the pipeline of the golden definition."""

import os
import sys
from pathlib import Path

import boto3
import yaml

GOLDEN = Path(__file__).parents[3] / "golden" / "sagemaker" / "pipeline.json"


def upsert(config: Path) -> str:
    settings = yaml.safe_load((config / "sagemaker.yaml").read_text())
    sagemaker = boto3.client("sagemaker", region_name=settings["region"])
    words = {"PipelineName": settings["pipeline"], "PipelineDefinition": GOLDEN.read_text()}
    words["RoleArn"] = settings["role"]
    known = [one["PipelineName"] for one in sagemaker.list_pipelines()["PipelineSummaries"]]
    if settings["pipeline"] in known:
        return str(sagemaker.update_pipeline(**words)["PipelineArn"])
    return str(sagemaker.create_pipeline(ClientRequestToken="t" * 32, **words)["PipelineArn"])


def main(argv: list[str]) -> int:
    if os.environ.get("SDK_SAYS"):
        print("Traceback (most recent call last):", os.environ["SDK_SAYS"], sep="\n", file=sys.stderr)
        return 1
    assert argv[:3:2] == ["-P", "--upsert"], argv
    print(upsert(Path(argv[argv.index("--config") + 1])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
