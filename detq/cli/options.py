"""Options as words again, for the same command on another machine."""

from collections.abc import Mapping, Sequence


def words_from(given: Mapping[str, object]) -> list[str]:
    """``--name value`` of every option that says something.

    Args:
        given: name of a parameter to its value; None, False and nothing at all are left out. A
            list is given several times, a pair of numbers is height x width.
    """
    words: list[str] = []
    for name, value in given.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, tuple):
            words += [option, "x".join(map(str, value))]
        elif value is True:
            words.append(option)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [word for one in value for word in (option, str(one))]
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words
