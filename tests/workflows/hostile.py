"""What a stranger may write where workflows read it: titles, branches, messages, names of people and files, inputs."""

from __future__ import annotations

from pathlib import Path


def values(target: Path) -> dict[str, str]:
    """Twelve texts by their kind. Each would create `target`, or change an output, where it is taken for code."""
    touch = f"touch {target}"
    return {
        "substitution": f"$({touch})",
        "backticks": f"`{touch}`",
        "double quotes": f'"; {touch}; echo "',
        "single quotes": f"'; {touch}; echo '",
        "newlines": f"a\n{touch}\necho b",
        "expression": "${{ toJSON(secrets) }} ${{ github.token }}",
        "leading dashes": f"--upload-pack={touch}",
        "workflow command": "::set-output name=eval-change::true\n::set-env name=PATH::/nowhere\n::stop-commands::x",
        "outputs": "a\neval-change=true\ncheck-code=false\nrelease=r-000000000000",
        "pipes": f"a | {touch} & {touch} && {touch} > {target} #",
        "escapes": f"%0A{touch}%0A::error::x \\n{touch} \\$({touch}) $'\\n'{touch}",
        "unicode": f"\u202e$({touch})\u2028{touch}\u2066＄（{touch}）\U0001f600",
    }


def file_name(text: str) -> str:
    """The text as the name of one file."""
    return text.replace("/", "_")[:120]
