import pkgutil
import subprocess
import sys

import detq_deploy

HEAVY = ("torch", "onnxruntime", "openvino", "tensorrt", "pycocotools", "cv2")


def test_importing_every_module_loads_no_engine() -> None:
    found_modules = pkgutil.walk_packages(detq_deploy.__path__, "detq_deploy.")
    modules = [module.name for module in found_modules]
    assert len(modules) > 50
    program = f"import sys, {', '.join(modules)}\nprint(set(sys.modules) & set({HEAVY!r}))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.stdout.strip(), found.stderr) == ("set()", "")
