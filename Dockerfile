# syntax=docker/dockerfile:1

# The converter as one step of a pipeline. `run` is `ovms-converter convert`; every parameter may come from the
# environment. Works with any user id, a read-only root and one writable volume at /tmp (or wherever TMPDIR says).

ARG PYTHON=python:3.12.11-slim-bookworm
# Which optional dependencies are in it, with commas between them: `--build-arg EXTRAS=verify,keras`.
ARG EXTRAS=""

FROM ${PYTHON} AS build
ARG EXTRAS
# Where pip looks beside PyPI, such as for PyTorch's builds for CPUs.
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /build
COPY requirements.lock ./
# The exact versions that were tested; the hashes would ask for all of the file, which holds the tests' packages too.
RUN sed -E '/^ +(--hash|#)/d; s/ *\\$//' requirements.lock > constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv --without-pip /opt/ovms-converter \
 && pip --python /opt/ovms-converter/bin/python install --no-cache-dir --no-compile -c constraints.txt ".${EXTRAS:+[$EXTRAS]}" \
 && cd /opt/ovms-converter/lib/python3.*/site-packages/openvino/libs \
 && rm -f libopenvino_intel_gpu_plugin.so libopenvino_intel_npu_plugin.so cache.json \
 && python -m compileall -q --invalidation-mode unchecked-hash -j 0 /opt/ovms-converter/lib \
 && printf '%s\n' '#!/bin/sh' 'exec ovms-converter convert "$@"' > /opt/ovms-converter/bin/run \
 && chmod 755 /opt/ovms-converter/bin/run

FROM ${PYTHON}
ARG EXTRAS
# LightGBM loads OpenMP's library of the system.
RUN case ",$EXTRAS," in *,lightgbm,*) \
    apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* ;; esac
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="ovms-converter" \
      org.opencontainers.image.description="A trained model at a URL in, a model repository for OpenVINO Model Server out" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/ovms-converter /opt/ovms-converter
ENV PATH=/opt/ovms-converter/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:0
WORKDIR /tmp
ENTRYPOINT ["ovms-converter"]
CMD ["--help"]
