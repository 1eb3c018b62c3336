"""``detq completion``."""

from typing import Literal

from detq.cli.output import Output

Shell = Literal["bash", "zsh", "fish"]

# zsh's script is made for a file that compinit finds; sourced, it must say whose it is.
_ENDS = {"zsh": "compdef _cyclopts_detq detq\n"}


def completion(
    shell: Shell,
    /,
    *,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Print what a shell needs to complete commands, options, targets and engines.

    The line for bash belongs into ~/.bashrc, that for zsh into ~/.zshrc behind compinit.

    Example: source <(detq completion bash)

    Example: source <(detq completion zsh)

    Example: detq completion fish > ~/.config/fish/completions/detq.fish

    Args:
        shell: The shell.
        out: How the result is told.
    """
    from detq.cli.app import build_app

    script = build_app().generate_completion(prog_name="detq", shell=shell) + _ENDS.get(shell, "")
    out.tell({"shell": shell, "script": script}, lambda: print(script, end=""))
