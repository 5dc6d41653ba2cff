# DINO lab and its course on a CPU: training, the lab in a browser, and JupyterLab, in one image.
#
#   docker build -t dino-lab .
#   docker run --rm -p 127.0.0.1:8888:8888 -v dino-course:/home/learner/runs dino-lab
#   docker run --rm -p 127.0.0.1:7860:7860 -v dino-course:/home/learner/runs dino-lab dino-lab lab --runs runs --host 0.0.0.0
#
# The first run is JupyterLab on the course: it prints an address with a token.  The second is a live training and the lab.
# On Linux the packages of torch carry CUDA; pytorch.org names an index of builds for CPUs alone, which makes the image
# several gigabytes smaller: --build-arg TORCH_INDEX=THAT_ADDRESS
# BASE may be any image that has Python 3.11 to 3.14 with pip.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ARG TORCH_INDEX=""
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /opt/dino-lab
COPY constraints.txt pyproject.toml ./
RUN python -m pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision

COPY . .
RUN python -m pip install --constraint constraints.txt --editable ".[lab]" \
    && python -m compileall -q dino_core lab apps notebooks \
    && useradd --create-home --uid 1000 learner \
    && mkdir /home/learner/runs \
    && chown learner:learner /home/learner/runs

USER 1000
WORKDIR /home/learner
EXPOSE 8888 7860
CMD ["python", "-m", "notebooks", "open", "--folder", "runs/course", "--no-browser", "--ServerApp.ip=0.0.0.0"]
