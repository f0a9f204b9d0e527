SDK := $(VENV)/sagemaker/.ready
.PHONY: sagemaker test-sagemaker

$(SDK): $(EXTRAS)/sagemaker/requirements/sagemaker.txt | $(READY)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/sagemaker
	@$(BIN)/uv pip install --quiet --python $(VENV)/sagemaker/bin/python --require-hashes -r $(EXTRAS)/sagemaker/requirements/sagemaker.txt
	@touch $(SDK)

sagemaker: $(READY) $(SDK)  ## train on SageMaker (config/sagemaker.yaml): cost first, then its steps; the result comes here (CHAMPION=… of an environment)
	@$(BIN)/sluice train --on sagemaker --watch $(if $(CHAMPION),--env $(CHAMPION))

test-sagemaker: $(READY) $(SDK)  ## the definition of SageMaker's pipeline, by its SDK (engine/docs/reference/sagemaker.md)
	@$(BIN)/pytest -m sagemaker engine/tests/unit/extras/sagemaker
