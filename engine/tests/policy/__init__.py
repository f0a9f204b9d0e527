"""The policy of .github/: what a workflow may be made of, and what a pull request may reach.

engine/tests/contract/ applies it to the project; cases/ has workflows that it accepts, and edits that it must refuse.
"""

from policy.answers import faults_of_answers
from policy.files import Repository
from policy.reach import faults_of_reach
from policy.rules import faults_of_pins, faults_of_rules

__all__ = ["Repository", "faults"]


def faults(repository: Repository) -> list[str]:
    if broken := repository.broken:
        return broken
    found = [*faults_of_rules(repository), *faults_of_pins(repository), *faults_of_reach(repository)]
    return [*found, *faults_of_answers(repository)]
