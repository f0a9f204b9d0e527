"""The pipeline of SageMaker: the stages of dvc.yaml as process -> train -> evaluate -> gates -> register.

`sluice train --on sagemaker` makes the pipeline what this file says and runs it. This shows the definition:

    .venv/sagemaker/bin/python -P pipelines/sagemaker.py

-P, because this file has the name of SageMaker's SDK, which has an environment of its own. `make sagemaker` makes it.

Machines, limits, network and tags are in config/sagemaker.yaml. A step of your own is an object of the SDK, made with
`steps.session`: add it to the list. To keep an edit of this file through upgrades, list it under `adopted:` in
config/project.yaml.
"""

from __future__ import annotations

import sys
from typing import Any

from sluice.extras.sagemaker.pipeline_steps import PipelineSteps, main, output_of


def pipeline(steps: PipelineSteps) -> list[Any]:
    """Return the steps in their order.

    A job runs the commands of its stage in engine/src/sluice/extras/sagemaker/container/job.py. `steps.given` has the
    parameters of a run: archives of Checkout (the code), Data and Live (the release that is live), and its Recipe.
    """
    jobs, given = steps.settings.jobs, steps.given
    sources = {"checkout": given["Checkout"], "data": given["Data"]}

    process = steps.processing("Process", jobs.process, inputs=sources, outputs=["check", "index", "guard"])
    index, guard = output_of(process, "index"), output_of(process, "guard")

    # By torchrun, on spot machines where the settings say so. The checkpoints of a recipe are those of all its runs.
    train = steps.training("Train", jobs.train, inputs={**sources, "index": index})
    adapter = train.properties.ModelArtifacts.S3ModelArtifacts

    # The candidate and the live release on one machine, then `sluice gates judge`, which writes gates/gates.json.
    evaluate = steps.processing(
        "Evaluate",
        jobs.evaluate,
        inputs={**sources, "live": given["Live"], "index": index, "guard": guard, "model": adapter},
        outputs=["evaluation", "gates"],
        files=[steps.verdict],
    )

    # A package of the adapter waits for its approval, which follows the champion. A refused run names the gates.
    gates = steps.gates(evaluate, passed=steps.registration("Register", adapter))
    return [process, train, evaluate, gates]


if __name__ == "__main__":
    sys.exit(main(pipeline, sys.argv[1:]))
