.PHONY: image test-image kind

image: $(READY)  ## build both images with buildah (BASE=NAME@sha256:…)
	@$(BIN)/sluice image build $(if $(BASE),--base $(BASE))

test-image: $(READY)  ## build both images, run them with podman (minutes; engine/docs/reference/image.md)
	@$(BIN)/pytest -m image engine/tests/image

kind: $(READY)  ## a cluster on this machine for e2e-cluster: kind, Argo Rollouts, Traefik, both images (BASE=…)
	@$(if $(BASE),SLUICE_IMAGE_BASE=$(BASE)) $(BIN)/python engine/scripts/make_kind.py
