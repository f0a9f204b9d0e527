"""Endpoints of the pages: images and drivers by AWS's own data in the SDK, sizes by arithmetic."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.extras.sagemaker.settings import CUDA_13_AMI, CUDA_13_MACHINES
from support.aws.sagemaker_runs import PYTHON, ROOT, SERVING_IMAGE
from unit.aws.test_documented_commands import WALKS, files

PAGES = [page for page in WALKS if page.is_file()]
GIB = 1024**3
# Config.json and index of meta-llama/Llama-3.1-8B-Instruct; an A10G has 24 GB, of which 22.5 GiB are usable (EC2, G5).
WEIGHTS, LAYERS, KV_HEADS, HEAD, MODEL_CONTEXT, CARD = 16_060_522_496, 32, 8, 128, 131_072, 22.5 * GIB
SHARE = 0.9  # of the card, that vLLM uses


def documented(page: Path) -> dict[str, Any]:
    return files(page)["config/sagemaker.yaml"]


@pytest.fixture
def sdk() -> Path:
    found = [*PYTHON.parents[1].glob("lib/python*/site-packages/sagemaker")]
    if not found:
        pytest.fail("the SDK's environment is missing: make test-sagemaker makes it")
    return found[0]


@pytest.mark.sagemaker
@pytest.mark.parametrize("image", [SERVING_IMAGE, *(documented(page)["serving_image"] for page in PAGES)])
def test_an_image_is_one_that_the_sdk_knows(sdk: Path, image: str) -> None:
    """The names that image_uris.retrieve makes: <prefix>-<processor>-<python>-<container>."""
    known = json.loads((sdk / "core" / "image_uri_config" / "vllm.json").read_text())["inference"]["versions"]
    names = {
        f"{one['registries']['eu-west-1']}.dkr.ecr.eu-west-1.amazonaws.com/{one['repository']}:{one['tag_prefix']}-gpu-"
        f"{one['py_versions'][0]}-{one['container_version']['gpu']}"
        for one in known.values()
    }
    assert image in names


@pytest.mark.sagemaker
def test_the_driver_of_cuda_13_is_the_sdk_s(sdk: Path) -> None:
    text = (sdk / "serve" / "model_builder_servers.py").read_text()
    assert f'_CUDA_13_INFERENCE_AMI = "{CUDA_13_AMI}"' in text
    listed = re.search(r"_CUDA_13_INFERENCE_AMI_COMPATIBLE_FAMILIES = frozenset\((.*?)\)", text, re.S)
    assert listed
    assert set(re.findall(r'"ml\.(\w+)"', listed[1])) == set(CUDA_13_MACHINES)


def test_the_8b_fits_its_card_with_the_context_of_the_service_and_not_with_its_own() -> None:
    context = yaml.safe_load((ROOT / "config" / "service.yaml").read_text())["llm"]["context"]
    a_token = 2 * LAYERS * KV_HEADS * HEAD * 2  # keys and values, in bfloat16
    assert WEIGHTS + context * a_token < SHARE * CARD < WEIGHTS + MODEL_CONTEXT * a_token
    endpoint = documented(ROOT / "engine" / "docs" / "an-8b-model.md")["endpoint"]
    assert endpoint["instance_type"].startswith("ml.g5.")
    assert "SM_VLLM_MAX_MODEL_LEN" not in endpoint["components"]["environment"]
    weights = files(ROOT / "engine" / "docs" / "an-8b-model.md")["config/models.yaml"]["chat"]["weights"]["source"]
    assert endpoint["components"]["base"] == weights.rpartition("/")[0] + "/"
