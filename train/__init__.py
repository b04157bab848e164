"""Training recipes of the papers, PyTorch layers on the golden arithmetic."""

from quaver.train.batches import Batches
from quaver.train.checkpoint import load_checkpoint, save_checkpoint
from quaver.train.convert import convert, processor_of
from quaver.train.data import DATA, DataSet, load_data
from quaver.train.data_set import Split
from quaver.train.functional import bmm, conv2d, linear, matmul
from quaver.train.models import MODELS, build_model
from quaver.train.optim import RoundedAdam, RoundedSGD, optimizer_for
from quaver.train.processor import Diverged, Operand, Processor
from quaver.train.products import MatMul
from quaver.train.run import Interrupted, Progress, Run
from quaver.train.settings import Settings
from quaver.train.site import Casts, Site
from quaver.train.tasks import task_of
from quaver.train.trace import TraceWriter
from quaver.train.training import Training, one_thread

__all__ = [
    "DATA",
    "MODELS",
    "Batches",
    "Casts",
    "DataSet",
    "Diverged",
    "Interrupted",
    "MatMul",
    "Operand",
    "Processor",
    "Progress",
    "RoundedAdam",
    "RoundedSGD",
    "Run",
    "Settings",
    "Site",
    "Split",
    "TraceWriter",
    "Training",
    "bmm",
    "build_model",
    "conv2d",
    "convert",
    "linear",
    "load_checkpoint",
    "load_data",
    "matmul",
    "one_thread",
    "optimizer_for",
    "processor_of",
    "save_checkpoint",
    "task_of",
]
