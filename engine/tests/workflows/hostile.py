"""What a stranger may write where workflows read it: titles, branches, messages, names of people and files, inputs."""

from pathlib import Path

# Each would create the file TARGET, or change an output, where it is taken for code.
TEXTS = {
    "substitution": "$(touch TARGET)",
    "backticks": "`touch TARGET`",
    "double quotes": '"; touch TARGET; echo "',
    "single quotes": "'; touch TARGET; echo '",
    "newlines": "a\ntouch TARGET\necho b",
    "expression": "${{ toJSON(secrets) }} ${{ github.token }}",
    "leading dashes": "--upload-pack=touch TARGET",
    "workflow command": "::set-output name=eval::true\n::set-env name=PATH::/nowhere\n::stop-commands::x",
    "outputs": "a\neval=true\ncheck=false\nrelease=r-000000000000",
    "pipes": "a | touch TARGET & touch TARGET && touch TARGET > TARGET #",
    "escapes": "%0Atouch TARGET%0A::error::x \\n touch TARGET \\$(touch TARGET) $'\\n'touch TARGET",
    "unicode": "\u202e$(touch TARGET)\u2028touch TARGET\u2066＄（touch TARGET）\U0001f600",
}
NAME = "pwned"


def all_kinds(folder: Path) -> str:
    return "\n".join(TEXTS.values()).replace("TARGET", str(folder / NAME))


def one_line(written: str) -> str:
    return written.replace("\n", " ")
