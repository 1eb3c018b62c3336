"""TensorRT 10.3 over ONNX Runtime: an engine is the ONNX file behind a mark, run on host memory.

So a device without a GPU can go the whole way. It has only what the contract tests saw the real
bindings have and ``device_runner`` use.
"""

import ctypes
import os

import numpy as np
import onnxruntime

__version__ = "10.3.0"
MARK = b"ftrt"
_WORK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_TYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(uint8)": "UINT8"}


class _Member:
    def __init__(self, name):
        self.name = name


class TensorIOMode:
    INPUT, OUTPUT = _Member("INPUT"), _Member("OUTPUT")


class ILogger:
    class Severity:
        ERROR = _Member("ERROR")


class Logger:
    def __init__(self, severity):
        pass


def init_libnvinfer_plugins(logger, namespace):
    return True


class Runtime:
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, plan):
        return ICudaEngine(plan[len(MARK) :]) if plan.startswith(MARK) else None


class ICudaEngine:
    def __init__(self, model):
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = {o.name: o for o in self.session.get_outputs()}
        self.all = {**self.inputs, **self.outputs}
        self.num_io_tensors = len(self.all)

    def get_tensor_name(self, index):
        return list(self.all)[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return _Member(_TYPES[self.all[name].type])

    def get_tensor_shape(self, name):
        return tuple(n if isinstance(n, int) else -1 for n in self.all[name].shape)

    def create_execution_context(self):
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine):
        self.engine, self.pointers, self.shape, self.kept = engine, {}, (), []
        self.cudart = ctypes.CDLL(os.environ["HOST_CUDART"])

    def set_input_shape(self, name, shape):
        self.shape = tuple(shape)
        declared = self.engine.get_tensor_shape(name)
        return all(a in (-1, b) for a, b in zip(declared, self.shape, strict=True))

    def get_tensor_shape(self, name):
        if name in self.engine.inputs:
            return self.shape
        declared = self.engine.get_tensor_shape(name)
        return (self.shape[0], *declared[1:]) if declared[0] == -1 else declared

    def set_tensor_address(self, name, pointer):
        self.pointers[name] = pointer
        return True

    def execute_async_v3(self, stream):
        work = _WORK(self._run)
        self.kept = [work]
        return self.cudart.host_launch(ctypes.c_void_p(stream), work, None) == 0

    def _run(self, _):
        feeds = {name: self._seen(name) for name in self.engine.inputs}
        found = self.engine.session.run(list(self.engine.outputs), feeds)
        for name, array in zip(self.engine.outputs, found, strict=True):
            self._seen(name)[...] = array
        return 0

    def _seen(self, name):
        dtype = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}[
            self.engine.get_tensor_dtype(name).name
        ]
        shape = self.get_tensor_shape(name)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_uint8 * size).from_address(self.pointers[name])
        return np.frombuffer(memory, dtype).reshape(shape)
