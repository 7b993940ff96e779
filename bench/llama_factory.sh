#!/bin/sh
# Makes an environment with LLaMA-Factory 0.9.5 beside this project's torch: `bench/llama_factory.sh FOLDER`, then
# `LLAMA_FACTORY_BIN=FOLDER/bin python -m bench.training`.
#
# Two patches, both only because torch is a CPU build where PyPI's torchaudio and torchvision are made for CUDA
# and do not load beside it. Training on text calls neither.
set -e
folder=${1:?bench/llama_factory.sh FOLDER}
python3 -m venv "$folder"
pip="$folder/bin/python -m pip install -q --disable-pip-version-check"
$pip torch==2.13.0
$pip llamafactory==0.9.5 bitsandbytes==0.50.2 torch==2.13.0 torchvision==0.28.0
site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if ! "$folder/bin/python" -c 'import torchaudio' 2>/dev/null; then
    rm -rf "$site/torchaudio"
    mkdir "$site/torchaudio"
    echo '"""A stand-in: the real one does not load beside a CPU build of torch."""' >"$site/torchaudio/__init__.py"
fi
if ! "$folder/bin/python" -c 'import torchvision' 2>/dev/null; then
    cat >"$site/torchvision_ops.py" <<'PYTHON'
"""Declares what torchvision looks for at import; nothing calls it."""
import torch

library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
PYTHON
    sed -i '1i import torchvision_ops  # declares what a CPU build of torch lacks' "$site/torchvision/__init__.py"
fi
"$folder/bin/llamafactory-cli" version
