import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()


def test_the_image_gets_every_package_and_what_builds_them() -> None:
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    wheel = re.search(r"packages = \[(.+)\]", PROJECT.partition("[tool.hatch")[2])
    assert wheel is not None
    packages = set(re.findall(r'"(.+?)"', wheel[1]))
    read = {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"}
    assert let_in == packages | read
    assert all((ROOT / name).exists() for name in let_in)


def test_its_extras_exist() -> None:
    extras = re.search(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert extras is not None
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", PROJECT, re.MULTILINE), extra


def test_every_argument_is_in_the_page() -> None:
    page = (ROOT / "docs" / "docker.md").read_text()
    for name, default in re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE):
        assert f"| `{name}` | " in page
        assert default in page or default.startswith("https://")
