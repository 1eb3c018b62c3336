"""What an engine depends on: TensorRT and the GPU it was built with."""

import platform

import msgspec

from detq_deploy.trt.driver import require_gpu
from detq_deploy.trt.load import TITLES, Product, load_tensorrt


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A TensorRT and a GPU.

    Attributes:
        product: ``tensorrt`` or ``tensorrt-rtx``.
        tensorrt: its version, such as ``10.3.0``.
        gpu: name, such as ``Orin``; empty if it was built without one.
        sm: architecture, such as ``sm87``.
        driver: version of the driver; empty where the system does not say.
        cuda: newest CUDA of the driver; empty without one.
        memory_mib: of the GPU.
        platform: system and processor, such as ``Linux aarch64``.
    """

    product: Product
    tensorrt: str
    gpu: str = ""
    sm: str = ""
    driver: str = ""
    cuda: str = ""
    memory_mib: int = 0
    platform: str = ""

    @property
    def title(self) -> str:
        """For people: ``TensorRT 10.3.0 on Orin (sm87)``."""
        gpu = f"{self.gpu} ({self.sm})" if self.gpu else self.sm
        return f"{TITLES[self.product]} {self.tensorrt}" + (f" on {gpu}" if gpu else "")


def here() -> str:
    """This system and processor."""
    return f"{platform.system()} {platform.machine()}"


def this_machine(product: Product = "tensorrt") -> Machine:
    """What engines are built with here.

    Raises:
        TargetUnavailableError: no TensorRT, no driver or no GPU.
        TargetError: an unknown TensorRT.
    """
    loaded = load_tensorrt(product)
    driver, gpu = require_gpu()
    return Machine(
        product=product,
        tensorrt=loaded.version,
        gpu=gpu.name,
        sm=gpu.sm,
        driver=driver.version,
        cuda=driver.cuda,
        memory_mib=gpu.memory_mib,
        platform=here(),
    )
