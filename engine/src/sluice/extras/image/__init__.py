"""The two container images: built by buildah, pushed by podman."""
