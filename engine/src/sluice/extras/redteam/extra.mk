ATTACKER := $(VENV)/redteam/.ready
.PHONY: redteam

$(ATTACKER): $(EXTRAS)/redteam/requirements/redteam.txt | $(READY)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/redteam
	@$(BIN)/uv pip install --quiet --python $(VENV)/redteam/bin/python --require-hashes --no-deps -r $(EXTRAS)/redteam/requirements/redteam.txt
	@touch $(ATTACKER)

redteam: $(READY) $(ATTACKER)  ## attack the champion: which attacks succeed (RELEASE=… for another, DRAFT=yes for the working tree)
	@$(BIN)/sluice redteam $(if $(RELEASE),--release $(RELEASE)) $(if $(DRAFT),--draft) $(if $(PUBLISH),--publish)
